package e164

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

func TestAnErasedNumberShowsNothingAndCannotBeAskedFor(t *testing.T) {
	n := Erased()
	text, err := json.Marshal(n)
	if got := fmt.Sprintf("%v|%s|%s|%s|%s|%s|%s|%v", n, n.E164(), n.Hidden(), n.Digits(), n.CountryCode(), n.National(), text, err); got != `erased|erased|erased||||"erased"|<nil>` {
		t.Errorf("%q", got)
	}
	if !n.IsErased() || n.IsZero() || (Number{}).IsErased() || MustParse("+919900000001").IsErased() {
		t.Error("erased is taken for something else")
	}
	if _, err := Parse(n.E164()); !errors.Is(err, ErrInvalid) {
		t.Error("a request can name it")
	}
	if NewFinder(n).Found([]byte("INVITE sip:+919900000001@192.0.2.1")) {
		t.Error("a finder finds it everywhere")
	}
	for _, text := range []string{"erased", "+919900000001"} {
		if got, err := ParseStored(text); err != nil || got.E164() != text {
			t.Errorf("%q is read as %q, %v", text, got.E164(), err)
		}
	}
	for _, text := range []string{"", "+91 9900000001", "erase", "919900000001"} {
		if _, err := ParseStored(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestANumberIsErasedFromATextAndItsNeighboursAreNot(t *testing.T) {
	n := MustParse("+919900000001")
	for text, want := range map[string]string{
		"":              "",
		"+919900000001": "erased",
		"919900000001":  "erased",
		"order 7 of +919900000001, +919900000001": "order 7 of erased, erased",
		"+9199000000012":            "+9199000000012",
		"0919900000001":             "0919900000001",
		"9199000000019199000000019": "9199000000019199000000019",
		"919900000001x919900000001": "erasedxerased",
		"+919900000002":             "+919900000002",
	} {
		if got := n.EraseFrom(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	if got := Erased().EraseFrom("erased"); got != "erased" {
		t.Errorf("%q", got)
	}
}
