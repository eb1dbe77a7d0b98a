package e164

import "strings"

// Finder looks for telephone numbers in a message about to be sent. It is the
// production tripwire behind the allow-lists of voice/sipua: made
// for speed and no false alarm, not for every disguise. The leak detector of
// testkit, which shares no code with it, looks deeper.
//
// A number is found by its national digits, whatever stands between them
// (space, hyphen, dot, parentheses, or their percent encodings), provided they
// are at least 7; shorter ones are looked for with their country code.
type Finder struct{ needles []string }

// NewFinder makes a finder of the numbers; zero and erased numbers are left out.
func NewFinder(numbers ...Number) Finder {
	var f Finder
	for _, n := range numbers {
		if n.IsZero() || n.IsErased() {
			continue
		}
		needle := n.National()
		if len(needle) < 7 {
			needle = n.Digits()
		}
		f.needles = append(f.needles, needle)
	}
	return f
}

// Found reports whether one of the numbers stands in raw.
func (f Finder) Found(raw []byte) bool {
	if len(f.needles) == 0 {
		return false
	}
	var run [64]byte // the digits of the present run; older ones move out
	n := 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c >= '0' && c <= '9':
			if n == len(run) {
				n = copy(run[:], run[len(run)-20:])
			}
			run[n] = c
			n++
			if n >= 7 && f.endsRun(run[:n]) {
				return true
			}
		case separator(c):
		case c == '%' && i+2 < len(raw) && encodedSeparator(raw[i+1], raw[i+2]):
			i += 2
		default:
			n = 0
		}
	}
	return false
}

func (f Finder) endsRun(run []byte) bool {
	for _, d := range f.needles {
		if len(run) >= len(d) && strings.HasSuffix(string(run), d) {
			return true
		}
	}
	return false
}

func separator(c byte) bool { return c == ' ' || c == '-' || c == '.' || c == '(' || c == ')' }

func encodedSeparator(hi, lo byte) bool {
	return hi == '2' && (lo == '0' || lo == '8' || lo == '9' || lo == 'D' || lo == 'd' || lo == 'E' || lo == 'e')
}
