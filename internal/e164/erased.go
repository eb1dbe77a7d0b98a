package e164

import "strings"

// erasedText is how a number is written that was erased. No request can name it:
// Parse refuses it.
const erasedText = "erased"

// Erased stands in a record where a number was that is not to be known any more.
// It is never dialled, and equal to every other erased one.
func Erased() Number { return Number{erasedText} }

// IsErased reports whether n stands for a number that was erased.
func (n Number) IsErased() bool { return n.s == erasedText }

// ParseStored is Parse for what E164 wrote before: it takes nothing but that, an
// erased number included.
func ParseStored(text string) (Number, error) {
	if text == erasedText {
		return Erased(), nil
	}
	n, err := Parse(text)
	if err != nil || n.s != text {
		return Number{}, ErrInvalid
	}
	return n, nil
}

// EraseFrom puts "erased" where the number stands in a text: all its digits in a
// row, with or without the plus, and no digit before or after them.
func (n Number) EraseFrom(text string) string {
	digits := n.Digits()
	if digits == "" || !strings.Contains(text, digits) {
		return text
	}
	var b strings.Builder
	for {
		i := strings.Index(text, digits)
		if i < 0 {
			b.WriteString(text)
			return b.String()
		}
		end := i + len(digits)
		if digitAt(text, i-1) || digitAt(text, end) {
			// Part of a longer number, which is gone past as a whole.
			for digitAt(text, end) {
				end++
			}
			b.WriteString(text[:end])
		} else {
			b.WriteString(strings.TrimSuffix(text[:i], "+"))
			b.WriteString(erasedText)
		}
		text = text[end:]
	}
}

func digitAt(text string, i int) bool {
	return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9'
}
