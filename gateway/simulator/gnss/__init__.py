"""A receiver of GPS and its sisters that is not there, on a pseudo-terminal."""
