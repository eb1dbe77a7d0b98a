package e164

// HideAll hides what could be telephone numbers in a text of others: of 7 digits or
// more, whatever single separators stand between them, the first two and the last
// two are left, as [Number.Hidden] leaves them. It is made to miss none, not to be
// read: it hides the digits of times and sums as well.
func HideAll(text string) string {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		end, digits := run(text[i:])
		if digits < 7 {
			end = max(end, 1)
			out = append(out, text[i:i+end]...)
		} else {
			part := onlyDigits(text[i : i+end])
			out = append(append(append(out, part[:2]...), "…"...), part[len(part)-2:]...)
		}
		i += end
	}
	return string(out)
}

// run is how far a text begins with digits that may be one number.
func run(text string) (end, digits int) {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
			end = i + 1
		case separator(c) && digits > 0:
		case c == '%' && digits > 0 && i+2 < len(text) && encodedSeparator(text[i+1], text[i+2]):
			i += 2
		default:
			return end, digits
		}
	}
	return end, digits
}

// onlyDigits leaves the separators out.
func onlyDigits(text string) string {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if c := text[i]; c == '%' {
			i += 2
		} else if c >= '0' && c <= '9' {
			out = append(out, c)
		}
	}
	return string(out)
}
