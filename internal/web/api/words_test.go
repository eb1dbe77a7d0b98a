package api

import (
	"testing"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

func TestNoStatusIsToldOfAnAttemptOnWhichNothingCameBack(t *testing.T) {
	show := func(e164.Number) string { return "…01" }
	for want, a := range map[string]masking.Attempt{
		"…01 over t: nothing came back":                          {Trunk: "t", Cause: masking.CauseFailed},
		"…01 over t: the network failed (SIP status 503)":        {Trunk: "t", Cause: masking.CauseFailed, Status: 503},
		"…01 over t: rang for 0 s, nobody answered":              {Trunk: "t", Cause: masking.CauseNoAnswer, Rang: true},
		"…01 over t: the caller gave up before anybody answered": {Trunk: "t", Cause: masking.CauseCallerCancelled},
	} {
		if got := attemptWords(a, show); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
