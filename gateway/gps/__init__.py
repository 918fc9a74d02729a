"""Where the gateway stands and what time it is, by a receiver of GPS and its sisters."""
