"""Browan TBHH100 (Tabs): temperature and humidity in whole degrees and percent. 8 bytes on port 103.

Source: the decoders in The Things Network's device repository (vendor/browan/tbhh100.js) and in ChirpStack's device
profiles (vendors/browan/codecs/tabs-tbhh100.js), and their examples.

Byte 0 status (bit 4 is said to be a trigger), byte 1 battery in its low half, byte 2 temperature + 32, byte 3 humidity.
ChirpStack's decoder takes 6 bits of the humidity, which ends at 63 %; the 7 bits of the other are read here.

Confirmed by examples: temperature on both sides of zero, humidity, battery. Not described in public: bytes 4 to 7 (FF
in all examples; CO2 and VOC of other models of the family), the settings on port 204, the versions on port 222.
"""

PORT = 103
SIZE = 8


def decode(payload, port, variables):
    if port in (204, 222):
        return {"data": {"message": "settings" if port == 204 else "versions", "raw": payload.hex()}}
    if port != PORT:
        return failed(payload, f"port {port} is not known: 103 readings, 204 settings, 222 versions")
    if len(payload) != SIZE:
        return failed(payload, f"offset {min(len(payload), SIZE)}: a reading has {SIZE} bytes, not {len(payload)}")
    data = {
        "status": payload[0],
        "battery_voltage": (25 + (payload[1] & 0x0F)) / 10,
        "temperature": (payload[2] & 0x7F) - 32,
        "humidity": payload[3] & 0x7F,
    }
    units = {"battery_voltage": "V", "temperature": "°C", "humidity": "%"}
    found = [{"quantity": name, "value": data[name], "unit": unit} for name, unit in units.items()]
    if payload[4:] != b"\xff\xff\xff\xff":
        data["rest"] = payload[4:].hex()
    return {"data": data, "measurements": found}


def failed(payload, error):
    return {"data": {"raw": payload.hex()}, "errors": [error]}
