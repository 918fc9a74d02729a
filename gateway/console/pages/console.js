// Puts what the gateway drew into its places, once a second, and says so when nothing comes any more.
"use strict";
{
  const MOST_ROWS = 50;
  const QUIET_MS = 5000; // events come every second; after five without one, what stands here may be old
  const AGAIN_MS = 3000;
  const DAY_S = 86400;

  const build = document.documentElement.dataset.build;
  const at = (id) => document.getElementById(id);
  const rows = at("rows");
  const lost = at("lost");
  let source = null;
  let heardAt = performance.now(); // of the last event; this clock never jumps
  let gatewayAhead = null; // the gateway's UTC minus performance.now(), in milliseconds: the phone's own clock may be wrong

  const parse = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content;
  };

  // Make one tree like the other and touch nothing that is alike already: focus, selection and open details stay.
  const liken = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(fresh);
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    } else {
      for (const { name } of [...old.attributes]) {
        if (!fresh.hasAttribute(name) && !(old.nodeName === "DETAILS" && name === "open")) old.removeAttribute(name);
      }
      for (const { name, value } of fresh.attributes) {
        if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      }
      likenChildren(old, fresh);
    }
  };

  // What has an id is found again wherever it has moved; everything else is compared in its order.
  const likenChildren = (old, fresh) => {
    const named = new Map([...old.children].filter((node) => node.id).map((node) => [node.id, node]));
    let place = old.firstChild;
    for (const node of [...fresh.childNodes]) {
      const same = named.get(node.id);
      if (same) {
        if (same === place) place = place.nextSibling;
        else old.insertBefore(same, place);
        liken(same, node);
      } else if (place && !place.id) {
        const next = place.nextSibling;
        liken(place, node);
        place = next;
      } else {
        old.insertBefore(node, place);
      }
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  };

  const words = (seconds) => {
    const s = Math.max(0, Math.floor(seconds));
    const thin = "\u202f";
    if (s < 60) return `${s}${thin}s ago`;
    if (s < 3600) return `${Math.floor(s / 60)}${thin}min ago`;
    const minutes = Math.floor((s % 3600) / 60);
    return `${Math.floor(s / 3600)}${thin}h${minutes ? ` ${minutes}${thin}min` : ""} ago`;
  };

  const write = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const showTimes = (within) => {
    if (gatewayAhead === null) return;
    const now = performance.now() + gatewayAhead;
    for (const node of within.querySelectorAll("time[data-ago]")) {
      const age = (now - Date.parse(node.dateTime)) / 1000;
      if (age > -2 && age < DAY_S) write(node, words(age));
    }
    for (const node of within.querySelectorAll("time[data-clock]")) {
      write(node, new Date(node.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }));
    }
  };

  const showRows = (event) => {
    const fresh = event.rows.map((html) => parse(html).firstElementChild);
    if (event.all) {
      const known = new Map([...rows.children].map((row) => [row.dataset.key, row]));
      rows.replaceChildren(...fresh.map((row) => known.get(row.dataset.key) ?? row));
    } else {
      fresh.forEach((row) => row.classList.add("new"));
      rows.prepend(...fresh);
      while (rows.children.length > MOST_ROWS) rows.lastElementChild.remove();
    }
  };

  const show = (message) => {
    const event = JSON.parse(message.data);
    if (event.build !== build) return location.reload(); // the gateway was updated meanwhile
    heardAt = performance.now();
    gatewayAhead = event.now - heardAt;
    document.title = event.title;
    write(at("spoken"), event.spoken); // changes only with a verdict, so that it is read aloud only then
    for (const [name, html] of Object.entries(event.parts)) likenChildren(at(`part-${name}`), parse(html));
    showRows(event);
    showState();
    showTimes(document);
  };

  const showState = () => {
    const quiet = performance.now() - heardAt;
    const isLost = quiet > QUIET_MS;
    document.body.classList.toggle("old", isLost);
    lost.hidden = !isLost;
    if (isLost) {
      // A moment, not a growing age: a screen reader says it once.
      const since = new Date(Date.now() - quiet).toLocaleTimeString();
      const why = source.readyState === EventSource.CLOSED
        ? "The gateway refuses live updates, perhaps to too many viewers. Reload to see the latest."
        : "Still within reach of its network?";
      write(lost, `No answer from the gateway since ${since}. What stands here is old. ${why}`);
    }
    write(at("live"), isLost ? "" : ", live");
  };

  const connect = () => {
    source?.close();
    source = new EventSource("/events");
    source.addEventListener("message", show);
  };

  setInterval(() => {
    // The browser reconnects by itself unless the gateway refused, as it does with too many viewers.
    if (source.readyState === EventSource.CLOSED && performance.now() - heardAt > AGAIN_MS) connect();
    showState();
    showTimes(document);
  }, 1000);

  // A phone that slept may hold a connection that died long ago.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && performance.now() - heardAt > QUIET_MS) connect();
  });
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && connect());
  connect();
}
