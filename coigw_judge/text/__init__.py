"""Text as characters and as a terminal shows it: widths, units, code points, characters that nobody sees."""
