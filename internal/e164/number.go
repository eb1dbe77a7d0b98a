// Package e164 holds a telephone number: parsed once, compared exactly, and
// hidden wherever it could be printed by accident. Every package may use it.
package e164

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrInvalid says that a text is no E.164 number. It never repeats the text:
// a mistyped number is still somebody's number.
var ErrInvalid = errors.New("not an E.164 number")

// Number is a telephone number in E.164 form ("+" and 7 to 15 digits, ITU-T
// E.164). The zero value is no number. Numbers are comparable with ==.
//
// The digits come out by [Number.E164] alone. Printing, logging or marshalling
// a Number shows its country code and last two digits, so that a forgotten %v
// is not a leak.
type Number struct{ s string }

// Parse reads an E.164 number. Spaces, hyphens, dots and parentheses are
// removed first; what is left must match ^\+[1-9][0-9]{6,14}$.
func Parse(text string) (Number, error) {
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case ' ', '-', '.', '(', ')':
		default:
			b.WriteByte(c)
		}
	}
	s := b.String()
	if len(s) < 8 || len(s) > 16 || s[0] != '+' || s[1] == '0' {
		return Number{}, ErrInvalid
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return Number{}, ErrInvalid
		}
	}
	return Number{s}, nil
}

// MustParse is Parse for numbers written in source code; it panics on others.
func MustParse(text string) Number {
	n, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return n
}

// E164 is the whole number with its "+"; "" for the zero value.
func (n Number) E164() string { return n.s }

// Digits is the number without its "+"; "" for the zero value and for Erased.
func (n Number) Digits() string {
	if n.IsErased() {
		return ""
	}
	return strings.TrimPrefix(n.s, "+")
}

// IsZero reports whether n is no number.
func (n Number) IsZero() bool { return n.s == "" }

// Compare orders numbers by their text, as the store orders keys.
func (n Number) Compare(m Number) int { return strings.Compare(n.s, m.s) }

// CountryCode is the calling code without "+", 1 to 3 digits; "" for the zero
// value. Codes are prefix-free (ITU-T E.164.D), so no longest match is needed.
func (n Number) CountryCode() string {
	d := n.Digits()
	return d[:min(callingCodeLen(d), len(d))]
}

// National is what follows the country code.
func (n Number) National() string { return n.Digits()[len(n.CountryCode()):] }

// Hidden is what people and logs may see: "+91…34".
func (n Number) Hidden() string {
	if n.s == "" || n.IsErased() {
		return n.s
	}
	return "+" + n.CountryCode() + "…" + n.s[len(n.s)-2:]
}

// Token is a keyed pseudonym, 12 hexadecimal digits, by which log lines of one
// number can be joined without telling the number.
func (n Number) Token(key []byte) string {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(n.s))
	return hex.EncodeToString(m.Sum(nil)[:6])
}

// String, Format, LogValue and MarshalText all hide the number.
func (n Number) String() string { return n.Hidden() }

// Format hides the number under every verb, %#v included.
func (n Number) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(n.Hidden())) }

// LogValue hides the number in structured logs.
func (n Number) LogValue() slog.Value { return slog.StringValue(n.Hidden()) }

// MarshalText hides the number in JSON and the like; an edge that must tell
// the number to its owner converts it with E164.
func (n Number) MarshalText() ([]byte, error) { return []byte(n.Hidden()), nil }

// Emergency reports whether text is an emergency short code, written alone or
// behind a country code. Such a number is never a party, whatever its length.
func Emergency(text string) bool {
	var d []byte
	for i := 0; i < len(text); i++ {
		if c := text[i]; c >= '0' && c <= '9' {
			d = append(d, c)
		}
	}
	if emergencyCode(string(d)) { // before zeros go: one of the codes is 000
		return true
	}
	s := strings.TrimLeft(string(d), "0") // 00 or 0 before a country code
	if len(s) > 6 {
		return false
	}
	return emergencyCode(s) || (len(s) > 3 && emergencyCode(s[min(callingCodeLen(s), len(s)):]))
}

// emergencyCode lists the codes of 3GPP TS 22.101 §10.1 and of the countries
// whose own codes are widely dialled.
func emergencyCode(s string) bool {
	switch s {
	case "112", "911", "999", "000", "110", "118", "119", "100", "101", "102", "108", "111", "113", "190", "192", "193":
		return true
	}
	return false
}

// callingCodeLen tells how many leading digits are the country code.
func callingCodeLen(d string) int {
	if d == "" {
		return 0
	}
	if d[0] == '1' || d[0] == '7' {
		return 1
	}
	if len(d) >= 2 && strings.Contains(twoDigitCodes, d[:2]+" ") {
		return 2
	}
	return 3
}

const twoDigitCodes = "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 " +
	"60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 "
