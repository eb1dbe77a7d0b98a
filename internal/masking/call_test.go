package masking

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
)

var causes = []Cause{CauseCallerHungUp, CauseCalleeHungUp, CauseCallerCancelled, CauseNoAnswer, CauseBusy, CauseDeclined,
	CauseUnreachable, CauseFailed, CauseNoMedia, CauseMediaTimeout, CauseAllocationEnded, CauseShutdown, CauseNodeLost,
	CauseLeakBlocked, CauseRejected}

func TestThePublishedWordsOfACallThatWasNotAnswered(t *testing.T) {
	words := map[Cause]struct {
		typ    CallType
		status DialStatus
	}{
		CauseCallerCancelled: {CallClientHangup, DialCanceled}, CauseNoAnswer: {CallIncomplete, DialNoAnswer},
		CauseBusy: {CallIncomplete, DialBusy}, CauseDeclined: {CallIncomplete, DialFailed},
		CauseUnreachable: {CallIncomplete, DialFailed}, CauseFailed: {CallIncomplete, DialFailed},
		CauseNoMedia: {CallIncomplete, DialFailed}, CauseMediaTimeout: {CallIncomplete, DialFailed},
		CauseAllocationEnded: {CallIncomplete, DialCanceled}, CauseShutdown: {CallIncomplete, DialCanceled},
		CauseNodeLost: {CallIncomplete, DialFailed}, CauseLeakBlocked: {CallIncomplete, DialFailed},
		CauseRejected: {CallAttempt, DialFailed}, CauseCallerHungUp: {CallIncomplete, DialFailed},
		CauseCalleeHungUp: {CallIncomplete, DialFailed},
	}
	for _, cause := range causes {
		want, there := words[cause]
		c := Call{StartedAt: noon, EndedAt: noon.Add(time.Second), Cause: cause}
		if !there || c.Type() != want.typ || c.DialStatus() != want.status {
			t.Errorf("%s: %s, %s, want %+v", cause, c.Type(), c.DialStatus(), want)
		}
	}
}

func TestThePublishedWordsOfTheOtherCalls(t *testing.T) {
	up := Call{StartedAt: noon}
	if up.Type() != CallAttempt || up.DialStatus() != "" {
		t.Errorf("ringing: %s, %q", up.Type(), up.DialStatus())
	}
	up.AnsweredAt = noon
	if up.Type() != CallAttempt || up.DialStatus() != DialCompleted {
		t.Errorf("talking: %s, %q", up.Type(), up.DialStatus())
	}
	for _, cause := range causes {
		if cause == CauseRejected {
			continue
		}
		c := Call{StartedAt: noon, AnsweredAt: noon, EndedAt: noon, Cause: cause}
		if c.Type() != CallCompleted || c.DialStatus() != DialCompleted {
			t.Errorf("answered, %s: %s, %s", cause, c.Type(), c.DialStatus())
		}
	}
	busy := Call{EndedAt: noon, Cause: CauseRejected, Refusal: RefusedCallerBusy}
	if busy.Type() != CallAttempt || busy.DialStatus() != DialBusy {
		t.Errorf("caller busy: %s, %s", busy.Type(), busy.DialStatus())
	}
}

func TestAHuntIsToldByItsMostTellingAttempt(t *testing.T) {
	order := []Cause{CauseFailed, CauseUnreachable, CauseNoAnswer, CauseDeclined, CauseBusy}
	if got := CauseOfAttempts(nil); got != CauseUnreachable {
		t.Errorf("without attempts: %s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		picks := rapid.SliceOfN(rapid.IntRange(0, len(order)-1), 1, 8).Draw(t, "causes")
		var attempts []Attempt
		for _, i := range picks {
			attempts = append(attempts, Attempt{Cause: order[i]})
		}
		if got := CauseOfAttempts(attempts); got != order[slices.Max(picks)] {
			t.Fatalf("%v: %s", picks, got)
		}
	})
	if got := CauseOfAttempts([]Attempt{{Cause: CauseShutdown}, {Cause: ""}}); got != CauseUnreachable {
		t.Errorf("causes that no attempt ends with: %s", got)
	}
}

func TestIdentifiersSortByTimeAndCarryAllTheirRandomness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<47)
		random := rapid.Custom(func(t *rapid.T) (r [10]byte) {
			copy(r[:], rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "bytes"))
			return r
		})
		ta, tb := ms.Draw(t, "a"), ms.Draw(t, "b")
		ra, rb := random.Draw(t, "ra"), random.Draw(t, "rb")
		a, b := NewID(PrefixCall, time.UnixMilli(ta), ra), NewID(PrefixCall, time.UnixMilli(tb), rb)
		if len(a) != len(PrefixCall)+26 || !strings.HasPrefix(a, PrefixCall) {
			t.Fatalf("made %q", a)
		}
		if ta != tb && (ta < tb) != (a < b) {
			t.Fatalf("%d %d sort as %s %s", ta, tb, a, b)
		}
		if ta == tb && (ra == rb) != (a == b) {
			t.Fatalf("%x %x give %s %s", ra, rb, a, b)
		}
	})
	early, late := NewID("x_", noon, [10]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255}), NewID("x_", noon.Add(time.Millisecond), [10]byte{})
	if early >= late {
		t.Errorf("%s is not before %s", early, late)
	}
}

func TestACallEventHasThePublishedNamesAndRealTypes(t *testing.T) {
	zone, err := time.LoadLocation(DefaultZoneName)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2024, 6, 15, 9, 30, 0, 900_000_000, time.UTC)
	c := Call{ID: "call_1", Tenant: "acme", Allocation: "gvn_1", VirtualNumber: vn(1), Caller: person(1), Callee: person(2),
		Direction: FromCalls, CustomField: "a\"b", StartedAt: start, AnsweredAt: start.Add(4 * time.Second),
		EndedAt: start.Add(70 * time.Second), RingTime: 4999 * time.Millisecond, TalkTime: 66 * time.Second, Cause: CauseCalleeHungUp}
	e := CallEvent("evt_1", EventCallCompleted, c, zone, start.Add(71*time.Second))
	want := `{"greenvn":"+914000000001","greenvn_id":"gvn_1","call_sid":"call_1","from":"+919800000001","to":"+919800000002",` +
		`"call_type":"completed","direction":"from_to","start_time":"2024-06-15T15:00:00+05:30","current_time":"2024-06-15T15:01:11+05:30",` +
		`"dial_call_duration":4,"on_call_duration":66,"dial_call_status":"completed","recording_url":null,"custom_field":"a\"b",` +
		`"cause":"callee_hung_up"}`
	if string(e.Data) != want {
		t.Errorf("data %s\nwant %s", e.Data, want)
	}
	if e.ID != "evt_1" || e.Type != EventCallCompleted || e.Tenant != "acme" || e.Allocation != "gvn_1" || e.Call != "call_1" ||
		!e.At.Equal(start.Add(71*time.Second)) {
		t.Errorf("event %+v", e)
	}
	refused := CallEvent("evt_2", EventCallRejected, Call{ID: "call_2", Tenant: "acme", VirtualNumber: vn(1), StartedAt: start,
		EndedAt: start, Cause: CauseRejected, Refusal: RefusedWithheld}, time.UTC, start)
	want = `{"greenvn":"+914000000001","call_sid":"call_2","from":"","call_type":"call-attempt","start_time":"2024-06-15T09:30:00Z",` +
		`"current_time":"2024-06-15T09:30:00Z","dial_call_duration":0,"on_call_duration":0,"dial_call_status":"failed",` +
		`"recording_url":null,"custom_field":"","cause":"rejected","reason":"withheld"}`
	if string(refused.Data) != want {
		t.Errorf("data %s\nwant %s", refused.Data, want)
	}
}

func TestAnAllocationEventTellsTheAllocation(t *testing.T) {
	a := active(t, Draft{From: people(1, 2), To: people(3), CustomField: "x"})
	e := AllocationEvent("evt_1", EventDeallocated, a, time.UTC, EndedByExpired, a.ExpiresAt)
	want := `{"greenvn":"+914000000001","greenvn_id":"gvn_1","from":["+919800000001","+919800000002"],"to":["+919800000003"],` +
		`"status":"deleted","usage":"twoway","record":false,"custom_field":"x","created_at":"2024-06-15T12:00:00Z",` +
		`"expires_at":"2024-06-15T13:00:00Z","reason":"expired"}`
	if string(e.Data) != want || e.Allocation != "gvn_1" || e.Call != "" || e.Tenant != "acme" {
		t.Errorf("data %s\nwant %s", e.Data, want)
	}
	var fields map[string]any
	if err := json.Unmarshal(AllocationEvent("evt_2", EventCreated, a, time.UTC, "", noon).Data, &fields); err != nil {
		t.Fatal(err)
	}
	if _, there := fields["reason"]; there || fields["status"] != "active" {
		t.Errorf("fields %v", slices.Sorted(maps.Keys(fields)))
	}
}

func TestTimesAreWrittenInWholeSecondsOfTheTenantsZone(t *testing.T) {
	zone := time.FixedZone("", 5*3600+1800)
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "ms"))
		life := time.Duration(rapid.Int64Range(1, 14688000).Draw(t, "life")) * time.Second
		created, err := time.Parse(time.RFC3339, Stamp(at, zone))
		expires, err2 := time.Parse(time.RFC3339, Stamp(at.Add(life), zone))
		if err != nil || err2 != nil || expires.Sub(created) != life || at.Sub(created) >= time.Second || at.Before(created) {
			t.Fatalf("%s, %s", Stamp(at, zone), Stamp(at.Add(life), zone))
		}
	})
}

func TestARefusalNeverRepeatsANumber(t *testing.T) {
	for _, err := range []error{ErrNotFound(), ErrUnavailable(), ErrNotInPool(), ErrNoNumber(noon), ErrClaimed(Shared), RefusedStranger} {
		if strings.ContainsAny(err.Error(), "+") {
			t.Errorf("%v", err)
		}
	}
	_, same := Draft{From: people(1), To: people(1), Duration: time.Hour}.New("gvn_1", acme(), noon)
	for _, n := range []e164.Number{person(1)} {
		if same == nil || strings.Contains(same.Error(), n.National()) {
			t.Errorf("%v", same)
		}
	}
}

func TestSettingsThatNoTenantMayHaveAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Settings)
		field  string
	}{
		"default":           {func(*Settings) {}, ""},
		"no rate":           {func(s *Settings) { s.RateLimit.PerSecond = 0 }, "rate_limit"},
		"no burst":          {func(s *Settings) { s.RateLimit.Burst = 0 }, "rate_limit"},
		"too high a rate":   {func(s *Settings) { s.RateLimit.PerSecond = 100_001 }, "rate_limit"},
		"life too long":     {func(s *Settings) { s.MaxDuration = MaxDuration + 1 }, "max_duration"},
		"no life":           {func(s *Settings) { s.MaxDuration = 0 }, "max_duration"},
		"ring too short":    {func(s *Settings) { s.RingEach = time.Second }, "ring_seconds"},
		"total below each":  {func(s *Settings) { s.RingTotal = s.RingEach - 1 }, "ring_total_seconds"},
		"total equals each": {func(s *Settings) { s.RingTotal = s.RingEach }, ""},
		"total too long":    {func(s *Settings) { s.RingTotal = 601 * time.Second }, "ring_total_seconds"},
		"no country":        {func(s *Settings) { s.Country = "" }, "country"},
		"a small country":   {func(s *Settings) { s.Country = "in" }, "country"},
		"one letter":        {func(s *Settings) { s.Country = "I" }, "country"},
		"three letters":     {func(s *Settings) { s.Country = "IND" }, "country"},
		"a sign":            {func(s *Settings) { s.Country = "I[" }, "country"},
		"no language":       {func(s *Settings) { s.Language = "" }, "language"},
		"a big language":    {func(s *Settings) { s.Language = "EN" }, "language"},
		"a path":            {func(s *Settings) { s.Language = "e/" }, "language"},
		"not ASCII":         {func(s *Settings) { s.Language = "é" }, "language"},
		"shortest PINs":     {func(s *Settings) { s.PINLength = 4 }, ""},
		"longest PINs":      {func(s *Settings) { s.PINLength = 8 }, ""},
		"PINs too short":    {func(s *Settings) { s.PINLength = 3 }, "pin_length"},
		"PINs too long":     {func(s *Settings) { s.PINLength = 9 }, "pin_length"},
		"kept for ever":     {func(s *Settings) { s.RecordingRetention = 0 }, ""},
		"kept ten years":    {func(s *Settings) { s.RecordingRetention = MaxRetention }, ""},
		"kept longer":       {func(s *Settings) { s.RecordingRetention = MaxRetention + 1 }, "recording_retention_days"},
		"kept backwards":    {func(s *Settings) { s.RecordingRetention = -1 }, "recording_retention_days"},
		"no policy":         {func(s *Settings) { s.Strangers = StrangerPolicy{} }, "stranger_policy"},
		"forward to nobody": {func(s *Settings) { s.Strangers = StrangerPolicy{Action: Forward} }, "stranger_policy"},
		"ask for PINs":      {func(s *Settings) { s.Strangers = askPIN }, ""},
	} {
		s := DefaultSettings(time.UTC)
		c.change(&s)
		if err := s.Check(); field(err) != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	for id, ok := range map[string]bool{"acme": true, "a-1_b": true, "9": true, "": false, "-a": false, "Acme": false, "a.b": false,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false} {
		if _, err := ParseTenantID(id); (err == nil) != ok {
			t.Errorf("tenant %q: %v", id, err)
		}
	}
}
