package e164

import (
	"strings"
	"testing"
)

func TestNumbersInTextsOfOthersAreHidden(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "",
		"ok":                                 "ok",
		`{"from":"+919912345601"}`:           `{"from":"+91…01"}`,
		"99123-45601, 99123 45602":           "99…01, 99…02",
		"%2B91%2099123%2D45601!":             "%2B91…01!",
		"a 123456 b 1234567":                 "a 123456 b 12…67",
		"(040) 4000-0001":                    "(04…01",
		"at 10:30 for 20 items, order 12-34": "at 10:30 for 20 items, order 12-34",
		"९९१":                                "९९१",
	} {
		if got := HideAll(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func FuzzHideAll(f *testing.F) {
	f.Add("call +91 99123-45601 now", 5)
	f.Fuzz(func(t *testing.T, text string, at int) {
		n := MustParse("+919912345601")
		if at >= 0 && at <= len(text) {
			text = text[:at] + n.E164() + text[at:]
		}
		if got := HideAll(text); NewFinder(n).Found([]byte(got)) && strings.Contains(text, n.E164()) {
			t.Errorf("%q still shows the number: %q", text, got)
		}
	})
}
