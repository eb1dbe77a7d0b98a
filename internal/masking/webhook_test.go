package masking

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestAPayloadWithoutNumbersHoldsNobodys(t *testing.T) {
	e := Event{Type: EventCallCompleted, At: noon, Data: json.RawMessage(`{"greenvn":"+914000000001","from":"+919912345601","to":["+918800000002","+918800000003"],` +
		`"mixed":["+918800000002","x"],"empty":[],"legs":[{"to":"+918800000002","rang":true}],"caller":"+91 99123-45601","custom_field":"+911","on_call_duration":63}`)}
	for _, c := range []struct {
		payload []byte
		want    string
	}{
		{Webhook{}.Payload(e, time.UTC), `{"custom_field":"+911","empty":[],"greenvn":"+914000000001","legs":[{"rang":true}],"mixed":["x"],"on_call_duration":63}`},
		{Webhook{}.HiddenPayload(e, time.UTC), `{"custom_field":"+911","empty":[],"greenvn":"+914000000001","legs":[{"rang":true}],"mixed":["x"],"on_call_duration":63}`},
		{Webhook{Numbers: true}.Payload(e, time.UTC), string(e.Data)},
		{Webhook{Numbers: true}.HiddenPayload(e, time.UTC), `{"caller":"+91…01","custom_field":"+911","empty":[],"from":"+91…01","greenvn":"+914000000001","legs":[{"rang":true,"to":"+91…02"}],"mixed":["+91…02","x"],"on_call_duration":63,"to":["+91…02","+91…03"]}`},
	} {
		want := `{"type":"call.completed","timestamp":"` + Stamp(noon, time.UTC) + `","data":` + c.want + `}`
		if got := string(c.payload); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestADeliveryIsTriedNineTimesOverAboutADay(t *testing.T) {
	d, now := Delivery{Status: DeliveryPending}, noon
	var all time.Duration
	for i, wait := range RetryWaits() {
		d = d.After(DeliveryAttempt{Outcome: OutcomeTimeout}, RetryWaits(), RetryJitter, now)
		if d.Status != DeliveryPending || d.Due != now.Add(wait+wait*15/100) || d.Tries != i+1 {
			t.Fatalf("after attempt %d: %+v", i+1, d)
		}
		all += wait
		now = d.Due
	}
	d = d.After(DeliveryAttempt{Outcome: OutcomeTimeout}, RetryWaits(), 0, now)
	if d.Status != DeliveryDead || d.FinishedAt != now || len(d.Attempts) != 9 || all < 22*time.Hour {
		t.Errorf("%+v after %v", d, all)
	}
	for range 30 { // replays
		d.Tries = 0
		d = d.After(DeliveryAttempt{Outcome: OutcomeStatus}, RetryWaits(), 0, now)
	}
	if d = d.After(DeliveryAttempt{Outcome: OutcomeDelivered}, nil, 0, now); d.Status != DeliveryDelivered || len(d.Attempts) != MostAttempts ||
		d.Attempts[MostAttempts-1].Outcome != OutcomeDelivered {
		t.Errorf("%+v", d)
	}
}

func TestEventsOfOneAllocationAreOneChain(t *testing.T) {
	for want, e := range map[string]Event{"gvn_1": {ID: "evt_1", Allocation: "gvn_1", Call: "call_1"}, "call_1": {ID: "evt_1", Call: "call_1"}, "evt_1": {ID: "evt_1"}} {
		if got := e.Chain(); got != want {
			t.Errorf("%+v is in chain %s, want %s", e, got, want)
		}
	}
}

func TestEveryTypeOfEventCanBeAskedFor(t *testing.T) {
	var names []string
	for _, typ := range EventTypes() {
		names = append(names, string(typ))
	}
	for _, typ := range []string{"greenvn.created", "greenpin.created", "greenpin.deallocated", "call.rejected", "recording.failed"} {
		if !strings.Contains(strings.Join(names, " ")+" ", typ+" ") {
			t.Errorf("%s is not among %v", typ, names)
		}
	}
	if err := (Webhook{URL: "https://hooks.example", Types: EventTypes()}).Check(); err != nil {
		t.Error(err)
	}
}
