package masking

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAPINHidesItselfHoweverItIsPrinted(t *testing.T) {
	const secret = "4801"
	pin := PIN(secret)
	holders := map[string]any{"alone": pin, "pointed at": &pin, "list": []PIN{pin}, "key": map[PIN]PIN{pin: pin},
		"struct": struct{ PIN PIN }{pin}, "allocation": Allocation{ID: "gp_1", PIN: pin, ToPIN: pin}}
	for name, v := range holders {
		// Not %p and %w, for which fmt asks nobody: go vet refuses them.
		for _, verb := range "vsdqxXUcobBOeEfFgGt" {
			for _, flags := range []string{"", "+", "#", "20", ".9", "-", "0"} {
				got := fmt.Sprintf("%"+flags+string(verb), v)
				if strings.Contains(got, secret) || strings.Contains(got, fmt.Sprintf("%x", secret)) ||
					strings.Contains(got, fmt.Sprintf("%X", secret)) {
					t.Errorf("%s shows itself by %%%s%c", name, flags, verb)
				}
			}
		}
		for how, got := range map[string]string{"Sprint": fmt.Sprint(v), "Sprintln": fmt.Sprintln("a", v),
			"an argument too many": fmt.Sprintf(strings.Repeat("a", 1), v), "an error": fmt.Errorf("entered %v: %w", v, errors.New("x")).Error()} {
			if strings.Contains(got, secret) {
				t.Errorf("%s shows itself by %s: %s", name, how, got)
			}
		}
	}
	if pin.String() == "" || pin.Reveal() != secret {
		t.Error("its owner does not get it, or nobody sees that there is one")
	}
}

func TestAPINHidesItselfInLogsAndDocuments(t *testing.T) {
	const secret = "4801"
	pin := PIN(secret)
	a := Allocation{ID: "gp_1", PIN: pin, ToPIN: pin}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "pin", pin, "any", slog.AnyValue(pin), "allocation", a, "list", []PIN{pin}, slog.Group("g", "pin", pin))
	}
	document, err := json.Marshal(map[string]any{"pin": pin, "allocation": a, "list": []PIN{pin}}) // keys of maps are written as they are
	markup, err2 := xml.Marshal(pin)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for name, text := range map[string]string{"log": log.String(), "JSON": string(document), "XML": string(markup)} {
		if strings.Contains(text, secret) || !strings.Contains(text, "PIN") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// Of as many random numbers as there are PINs, each comes once: so uniform
// numbers make uniform PINs.
func TestPINsAreDrawnUniformlyAndKeepTheirZeros(t *testing.T) {
	for _, c := range []struct {
		length int
		space  uint64
	}{{4, 10_000}, {5, 100_000}} {
		times := make(map[PIN]int, c.space)
		const rounds = 3
		for r := range rounds * c.space {
			p := DrawPIN(c.length, r)
			if got, ok := ParsePIN(p.Reveal()); !ok || got != p || len(p) != c.length {
				t.Fatalf("of %d was made %q", r, p.Reveal())
			}
			times[p]++
		}
		for p, n := range times {
			if n != rounds {
				t.Fatalf("%q comes %d times of %d", p.Reveal(), n, rounds)
			}
		}
		if len(times) != int(c.space) {
			t.Errorf("of %d PINs %d are drawn", c.space, len(times))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.IntRange(MinPINLength, MaxPINLength).Draw(t, "length")
		if p, ok := ParsePIN(DrawPIN(length, rapid.Uint64().Draw(t, "random")).Reveal()); !ok || len(p) != length {
			t.Fatalf("drew %q", p.Reveal())
		}
	})
}

func TestWhatOneWouldGuessFirstIsTrivial(t *testing.T) {
	for _, s := range []string{"0000", "9999", "1212", "1234", "4321", "7890", "8901", "2468", "8642", "0505", "1122", "9988", "1221",
		"1900", "1984", "2026", "2099", "2580", "0852", "1004",
		"00000", "12345", "54321", "12321", "90123", "13579",
		"000000", "123456", "121212", "123123", "112233", "123321", "987654",
		"7777777", "1234321", "2345678", "00000000", "12341234", "12344321", "11223344", "98765432"} {
		if !PIN(s).Trivial() {
			t.Errorf("%s is let through", s)
		}
	}
	for _, s := range []string{"4801", "5913", "7062", "2649", "1235", "1123", "0912", "2180", "1899", "2100",
		"19840", "11223", "20261", "480159", "121213", "1984123", "48015917", "19842026"} {
		if PIN(s).Trivial() {
			t.Errorf("%s is refused", s)
		}
	}
}

// A generator that refuses much of its space makes what is left easier to guess.
func TestOfALengthsSpaceLittleIsTrivial(t *testing.T) {
	for _, c := range []struct {
		length       int
		space, step  uint64
		least, below float64 // of what is looked at, in percent
	}{{4, 1e4, 1, 3, 6}, {5, 1e5, 1, 0.5, 2}, {6, 1e6, 17, 0.1, 0.5}, {7, 1e7, 103, 0.03, 0.2}, {8, 1e8, 1013, 0.01, 0.1}} {
		trivial, seen := 0, 0
		for r := uint64(0); r < c.space; r += c.step {
			seen++
			if DrawPIN(c.length, r).Trivial() {
				trivial++
			}
		}
		if share := 100 * float64(trivial) / float64(seen); share < c.least || share >= c.below {
			t.Errorf("%d digits: %.3f %% are refused", c.length, share)
		}
	}
}

func TestOnlyFourToEightDigitsAreAPIN(t *testing.T) {
	for s, ok := range map[string]bool{"0000": true, "4801": true, "48015917": true, "00480159": true,
		"": false, "480": false, "480159172": false, "48a1": false, "48 1": false, " 4801": false, "4801#": false, "*801": false,
		"+4801": false, "-480": false, "48.1": false, "४८०१": false, "480\x00": false} {
		p, got := ParsePIN(s)
		if got != ok || ok && p.Reveal() != s || !ok && p != "" {
			t.Errorf("%q: %v, %q", s, got, p.Reveal())
		}
	}
}

func TestAPINsClaimIsNoNumbersAndNotThatOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := DrawPIN(rapid.IntRange(MinPINLength, MaxPINLength).Draw(t, "length"), rapid.Uint64().Draw(t, "a"))
		q := DrawPIN(rapid.IntRange(MinPINLength, MaxPINLength).Draw(t, "other length"), rapid.Uint64().Draw(t, "b"))
		if p.Claimant() == AnyCaller || strings.HasPrefix(p.Claimant(), "+") || (p == q) != (p.Claimant() == q.Claimant()) {
			t.Fatalf("claims as %s and %s", p.Claimant(), q.Claimant())
		}
	})
}

func TestPINsGetLongerWhenATwentiethOfTheirSpaceIsTaken(t *testing.T) {
	space := 10_000
	for length := MinPINLength; length <= MaxPINLength; length++ {
		if got := PINsBeforeLonger(length); got*20 != space {
			t.Errorf("%d digits: %d of %d", length, got, space)
		}
		space *= 10
	}
}

func TestAPartyMayBeGivenOneToTenWrongEntries(t *testing.T) {
	for n, ok := range map[int]bool{-1: false, 0: false, 1: true, 3: true, 10: true, 11: false, 1 << 40: false} {
		err := CheckPINAttempts(n)
		if (err == nil) != ok || !ok && (field(err) != "max_pin_attempts" || KindOf(err) != Invalid) {
			t.Errorf("%d: %v", n, err)
		}
	}
	if err := ErrNoPIN(); err.Kind != Exhausted || err.Code != CodeNoPINAvailable || err.Field != "caller_id_number" {
		t.Errorf("%+v", err)
	}
}
