// Package testkit holds what tests of more than one package need: a leak detector,
// a carrier that tells everything it knows, and a ladder printer for golden files.
//
// Only tests import it.
package testkit

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"tandem/internal/voice/phone"
)

// A LeakDetector finds telephone numbers in bytes, however they are spelled. It is
// the oracle of the rule that neither party ever learns the other's number,
// and shares no code with the tripwire in package e164.
//
// It looks at the bytes as they are and, up to four layers deep, at what they become
// when an encoding is undone (views.go): percent, JSON, XML and quoted-printable
// escapes, base64 in both alphabets and at every alignment, hexadecimal, UTF-16,
// folded lines, digits of other scripts. In each view a number is its national
// digits in a row, with or without country code, trunk prefix or zeros in front, and
// with up to three separators between two digits. Numbers packed two digits a byte, as
// ISUP has them, are found too.
//
// What it does not find: a part of a number, digits reversed or encrypted,
// compressed bodies, digits written as words.
type LeakDetector struct{ numbers []needle }

// A needle is one number: what is looked for, and how it is named in a report.
type needle struct {
	digits string // in text: national, or all of a number with less than 7 national digits
	packed string // packed two a byte: national if there are 10 digits or more, else all
	name   string // country code and last two digits
}

// A Leak is a number found.
type Leak struct {
	Where  string // what was looked at
	Number string // country code and last two digits
	View   string // encodings undone to see it, "plain" for none
}

// String tells a leak without telling the number.
func (l Leak) String() string { return fmt.Sprintf("%s: %s found, %s", l.Where, l.Number, l.View) }

// NewLeakDetector looks for numbers given in E.164 form: "+", country code and national number.
// It panics on anything else: a detector that looks for nothing would prove nothing.
func NewLeakDetector(numbers ...string) *LeakDetector {
	if len(numbers) == 0 {
		panic("testkit: a leak detector without numbers")
	}
	d := &LeakDetector{}
	for _, n := range numbers {
		all, ok := strings.CutPrefix(n, "+")
		if !ok || len(all) < 7 || strings.Trim(all, "0123456789") != "" {
			panic("testkit: a leak detector needs numbers in E.164 form")
		}
		country := countryCodeLength(all)
		x := needle{digits: all[country:], packed: all[country:], name: "+" + all[:country] + "…" + all[len(all)-2:]}
		if len(x.digits) < 7 {
			x.digits = all
		}
		if len(x.packed) < 10 {
			x.packed = all
		}
		d.numbers = append(d.numbers, x)
	}
	return d
}

// countryCodeLength is by ITU-T E.164.D: zones 1 and 7 have one digit; these
// pairs are whole codes; all others have three.
func countryCodeLength(digits string) int {
	if digits[0] == '1' || digits[0] == '7' {
		return 1
	}
	for pair := range strings.SplitSeq("20 27 28 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 "+
		"60 61 62 63 64 65 66 81 82 83 84 86 89 90 91 92 93 94 95 98", " ") {
		if digits[:2] == pair {
			return 2
		}
	}
	return 3
}

// Check looks for the numbers in b. A number seen in several views is reported once,
// in the simplest.
func (d *LeakDetector) Check(where string, b []byte) []Leak {
	var leaks []Leak
	found := make(map[string]bool)
	views := viewsOf(b)
	for _, v := range views {
		for _, n := range d.numbers {
			if !found[n.name] && spelled(v.in, n.digits) {
				found[n.name] = true
				leaks = append(leaks, Leak{where, n.name, v.name})
			}
		}
	}
	for _, v := range views {
		for _, n := range d.numbers {
			if !found[n.name] && packedIn(v.in, n.packed) {
				found[n.name] = true
				leaks = append(leaks, Leak{where, n.name, strings.TrimPrefix(v.name+", packed", "plain, ")})
			}
		}
	}
	return leaks
}

// AssertNoLeak fails the test for each number found in any of the messages.
func AssertNoLeak(t testing.TB, d *LeakDetector, where string, messages ...[]byte) {
	t.Helper()
	for i, b := range messages {
		for _, l := range d.Check(fmt.Sprintf("%s, message %d of %d", where, i+1, len(messages)), b) {
			t.Errorf("leak: %v, in %d bytes beginning %q", l, len(b), beginning(b))
		}
	}
}

// beginning is what identifies a message: its first word, without numbers.
func beginning(b []byte) string {
	word, _, _ := strings.Cut(string(b[:min(len(b), 24)]), " ")
	return phone.Hide(word)
}

// spelled reports whether the digits stand in text in a row, with at most three
// separators between two of them.
func spelled(text []byte, digits string) bool {
	for i := range text {
		if text[i] == digits[0] && continues(text[i+1:], digits[1:]) {
			return true
		}
	}
	return false
}

func continues(text []byte, digits string) bool {
	for gap := 0; digits != ""; {
		switch {
		case len(text) == 0:
			return false
		case text[0] == digits[0]:
			text, digits, gap = text[1:], digits[1:], 0
			continue
		}
		n := separator(text)
		if n == 0 || gap == 3 {
			return false
		}
		text, gap = text[n:], gap+1
	}
	return true
}

// separator is the length of the separator that text begins with, 0 if it does
// not. The Unicode ones are the blanks and dashes that people and word processors put
// into numbers, and marks that cannot be seen.
func separator(text []byte) int {
	if c := text[0]; c < utf8.RuneSelf {
		if strings.IndexByte(" \t-.()/_+,:'\"*~|\\[]", c) >= 0 {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRune(text)
	switch {
	case r == utf8.RuneError && n == 1:
		if text[0] == 0xa0 || text[0] == 0xad { // no-break space, soft hyphen in ISO 8859-1
			return 1
		}
		return 0
	case r == 0xa0, r == 0xad, r == 0xb7, r >= 0x2000 && r <= 0x2015, r >= 0x2024 && r <= 0x2027, r == 0x202f,
		r >= 0x2043 && r <= 0x2044, r == 0x205f, r == 0x2060, r == 0x2212, r == 0x3000, r == 0xfe58, r == 0xfe63,
		r == 0xfeff, r == 0xff0d, r == 0xff0e:
		return n
	}
	return 0
}

// packedIn reports whether the digits stand in b two to a byte, the first in the high
// or in the low half (BCD; the telephony order of ITU-T Q.763 and Q.931), from either half
// of a byte on.
func packedIn(b []byte, digits string) bool {
	for _, swapped := range []bool{false, true} {
		half := func(i int) byte {
			if (i%2 == 1) != swapped {
				return b[i/2] & 0x0f
			}
			return b[i/2] >> 4
		}
		for i := 0; i+len(digits) <= 2*len(b); i++ {
			n := 0
			for n < len(digits) && half(i+n) == digits[n]-'0' {
				n++
			}
			if n == len(digits) {
				return true
			}
		}
	}
	return false
}
