package testkit

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// maxLayers is how many encodings may lie on top of each other; maxViews bounds the
// work for one message.
const (
	maxLayers = 4
	maxViews  = 4096
)

// An undoing is one encoding undone. Each result is looked at by itself; no result
// means that the encoding does not occur.
type undoing struct {
	name string
	undo func([]byte) [][]byte
}

var undoings = []undoing{
	{"folded lines", one(unfold)},
	{"percent", one(unpercent)},
	{"JSON escapes", one(unjson)},
	{"XML escapes", one(unxml)},
	{"quoted-printable", one(unquotedPrintable)},
	{"other digits", one(latinDigits)},
	{"UTF-16", one(un16)},
	{"base64", unbase64},
	{"hexadecimal", unhex},
}

// A view is a message with some encodings undone.
type view struct {
	name string
	in   []byte
}

// viewsOf gives b and, layer by layer, all that undoing encodings makes of it, so that
// the simplest view comes first. No view comes twice.
func viewsOf(b []byte) []view {
	views, seen := []view{{"plain", b}}, map[string]bool{string(b): true}
	for layer, start := 0, 0; layer < maxLayers && start < len(views); layer++ {
		end := len(views)
		for _, v := range views[start:end] {
			views = v.undo(views, seen)
		}
		start = end
	}
	return views
}

// undo appends what one undoing more makes of v.
func (v view) undo(views []view, seen map[string]bool) []view {
	for _, u := range undoings {
		name := u.name
		if v.name != "plain" {
			name = v.name + ", " + u.name
		}
		for _, in := range u.undo(v.in) {
			if !seen[string(in)] && len(seen) < maxViews {
				seen[string(in)] = true
				views = append(views, view{name, in})
			}
		}
	}
	return views
}

// one makes an undoing of a function that reports whether it has changed anything.
func one(f func([]byte) ([]byte, bool)) func([]byte) [][]byte {
	return func(b []byte) [][]byte {
		if out, ok := f(b); ok {
			return [][]byte{out}
		}
		return nil
	}
}

// replace walks over b and replaces what at recognises: it gets the rest and
// returns the replacement and the length of what it replaces, 0 for nothing.
func replace(b []byte, at func(rest []byte) (with []byte, length int)) ([]byte, bool) {
	var out []byte
	changed := false
	for i := 0; i < len(b); {
		with, n := at(b[i:])
		if n == 0 {
			out, i = append(out, b[i]), i+1
			continue
		}
		out, i, changed = append(out, with...), i+n, true
	}
	return out, changed
}

// unfold joins folded header lines (RFC 3261 §7.3.1).
func unfold(b []byte) ([]byte, bool) {
	return replace(b, func(rest []byte) ([]byte, int) {
		n := lineEnd(rest)
		blanks := n
		for blanks < len(rest) && (rest[blanks] == ' ' || rest[blanks] == '\t') {
			blanks++
		}
		if n == 0 || blanks == n {
			return nil, 0
		}
		return nil, blanks
	})
}

// lineEnd is the length of the line end that b begins with.
func lineEnd(b []byte) int {
	switch {
	case bytes.HasPrefix(b, []byte("\r\n")):
		return 2
	case len(b) > 0 && (b[0] == '\n' || b[0] == '\r'):
		return 1
	}
	return 0
}

func unpercent(b []byte) ([]byte, bool) { return replace(b, hexAfter("%", 2)) }

// unjson undoes \u0039, \x39, \u{39} and \/.
func unjson(b []byte) ([]byte, bool) {
	four, two := hexAfter(`\u`, 4), hexAfter(`\x`, 2)
	return replace(b, func(rest []byte) ([]byte, int) {
		if with, n := four(rest); n > 0 {
			return with, n
		}
		if with, n := two(rest); n > 0 {
			return with, n
		}
		if bytes.HasPrefix(rest, []byte(`\/`)) {
			return []byte("/"), 2
		}
		if bytes.HasPrefix(rest, []byte(`\u{`)) {
			return reference(rest, 3, '}', 16)
		}
		return nil, 0
	})
}

// unxml undoes &#57; and &#x39;.
func unxml(b []byte) ([]byte, bool) {
	return replace(b, func(rest []byte) ([]byte, int) {
		switch {
		case bytes.HasPrefix(rest, []byte("&#x")), bytes.HasPrefix(rest, []byte("&#X")):
			return reference(rest, 3, ';', 16)
		case bytes.HasPrefix(rest, []byte("&#")):
			return reference(rest, 2, ';', 10)
		}
		return nil, 0
	})
}

// unquotedPrintable undoes =39 and soft line breaks (RFC 2045 §6.7).
func unquotedPrintable(b []byte) ([]byte, bool) {
	escape := hexAfter("=", 2)
	return replace(b, func(rest []byte) ([]byte, int) {
		if rest[0] == '=' {
			if n := lineEnd(rest[1:]); n > 0 {
				return nil, 1 + n
			}
		}
		return escape(rest)
	})
}

// hexAfter recognises a prefix and so many hexadecimal digits: one character.
func hexAfter(prefix string, digits int) func([]byte) ([]byte, int) {
	return func(rest []byte) ([]byte, int) {
		n := len(prefix) + digits
		if len(rest) < n || string(rest[:len(prefix)]) != prefix {
			return nil, 0
		}
		value, err := strconv.ParseUint(string(rest[len(prefix):n]), 16, 32)
		if err != nil {
			return nil, 0
		}
		if digits == 2 {
			return []byte{byte(value)}, n
		}
		return utf8.AppendRune(nil, rune(value)), n
	}
}

// reference reads a number from start to an end mark: one character.
func reference(rest []byte, start int, mark byte, base int) ([]byte, int) {
	end := bytes.IndexByte(rest[:min(len(rest), start+10)], mark)
	if end < 0 {
		return nil, 0
	}
	value, err := strconv.ParseUint(string(rest[start:end]), base, 32)
	if err != nil {
		return nil, 0
	}
	return utf8.AppendRune(nil, rune(value)), end + 1
}

// latinDigits writes the decimal digits of all scripts as 0 to 9.
func latinDigits(b []byte) ([]byte, bool) {
	return replace(b, func(rest []byte) ([]byte, int) {
		r, n := utf8.DecodeRune(rest)
		if r < utf8.RuneSelf || !unicode.IsDigit(r) {
			return nil, 0
		}
		// Each script's digits are ten code points in a row, 0 first; the mathematical
		// ones are five such rows without a gap.
		value := 0
		if r >= 0x1d7ce && r <= 0x1d7ff {
			return []byte{'0' + byte((r-0x1d7ce)%10)}, n
		}
		for value < 9 && unicode.IsDigit(r-rune(value)-1) {
			value++
		}
		return []byte{'0' + byte(value)}, n
	})
}

// un16 removes what UTF-16 puts between ASCII characters.
func un16(b []byte) ([]byte, bool) {
	if bytes.Count(b, []byte{0}) < 7 { // fewer than a number has digits
		return nil, false
	}
	return bytes.ReplaceAll(b, []byte{0}, nil), true
}

// unbase64 decodes each run of base64 characters that could hold a number, at all four
// alignments, since what stands before it may be of the same characters. Line breaks
// within a run are left out (RFC 2045 §6.8).
func unbase64(b []byte) [][]byte {
	var out [][]byte
	for _, run := range runs(b, 10, func(c byte) bool {
		return isHex(c) || 'g' <= c && c <= 'z' || 'G' <= c && c <= 'Z' || c == '+' || c == '/' || c == '-' || c == '_' ||
			c == '\r' || c == '\n'
	}) {
		clean := make([]byte, 0, len(run))
		for _, c := range run {
			switch c {
			case '\r', '\n':
			case '-':
				clean = append(clean, '+')
			case '_':
				clean = append(clean, '/')
			default:
				clean = append(clean, c)
			}
		}
		for skip := 0; skip < 4 && skip < len(clean); skip++ {
			part := clean[skip:]
			if len(part)%4 == 1 {
				part = part[:len(part)-1]
			}
			if decoded, err := base64.RawStdEncoding.DecodeString(string(part)); err == nil {
				out = append(out, decoded)
			}
		}
	}
	return out
}

// unhex decodes each run of hexadecimal digits long enough for a packed number, at both
// alignments. Colons in it, as fingerprints have them, are left out.
func unhex(b []byte) [][]byte {
	var out [][]byte
	for _, run := range runs(b, 10, func(c byte) bool { return isHex(c) || c == ':' }) {
		run = bytes.ReplaceAll(run, []byte(":"), nil)
		for skip := range 2 {
			decoded := make([]byte, 0, len(run)/2)
			for i := skip; i+2 <= len(run); i += 2 {
				value, _ := strconv.ParseUint(string(run[i:i+2]), 16, 8) // only hex digits
				decoded = append(decoded, byte(value))
			}
			out = append(out, decoded)
		}
	}
	return out
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// runs cuts out what is at least so long and all of one kind of character.
func runs(b []byte, least int, in func(byte) bool) [][]byte {
	var out [][]byte
	start := 0
	for i := 0; i <= len(b); i++ {
		if i < len(b) && in(b[i]) {
			continue
		}
		if i-start >= least {
			out = append(out, b[start:i])
		}
		start = i + 1
	}
	return out
}
