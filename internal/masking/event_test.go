package masking

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestAnEventNamesThingsAsTheAPIThatMadeThem(t *testing.T) {
	vnNames := map[string]any{"greenvn": vn(1).E164(), "greenvn_id": "gvn_1", "vn": nil, "greenpin_id": nil}
	pinNames := map[string]any{"greenvn": nil, "greenvn_id": nil, "vn": vn(1).E164(), "greenpin_id": "gp_1"}
	nobodys := map[string]any{"greenvn": vn(1).E164(), "greenvn_id": nil, "vn": nil, "greenpin_id": nil}
	a, p := active(t, Draft{From: people(1), To: people(2)}), greenpin(t, Draft{From: people(1)})
	call := func(id AllocationID) Event {
		return CallEvent("evt_1", EventCallCompleted, Call{ID: "call_1", Tenant: "acme", Allocation: id, VirtualNumber: vn(1)}, time.UTC, noon)
	}
	for name, c := range map[string]struct {
		e    Event
		typ  EventType
		want map[string]any
	}{
		"greenvn.created":     {AllocationEvent("evt_1", EventCreated, a, time.UTC, "", noon), "greenvn.created", vnNames},
		"greenpin.created":    {AllocationEvent("evt_1", EventCreated, p, time.UTC, "", noon), "greenpin.created", pinNames},
		"greenpin.updated":    {AllocationEvent("evt_1", EventUpdated, p, time.UTC, "", noon), "greenpin.updated", pinNames},
		"greenpin, ended":     {AllocationEvent("evt_1", EventDeallocated, p, time.UTC, EndedByAPI, noon), "greenpin.deallocated", pinNames},
		"call of GreenVN":     {call("gvn_1"), EventCallCompleted, vnNames},
		"call of GreenPin":    {call("gp_1"), EventCallCompleted, pinNames},
		"call of nobody":      {call(""), EventCallCompleted, nobodys},
		"recording, GreenVN":  {RecordingEvent("evt_1", EventRecordingReady, Recording{Allocation: "gvn_1", VirtualNumber: vn(1)}, time.UTC, noon), EventRecordingReady, vnNames},
		"recording, GreenPin": {RecordingEvent("evt_1", EventRecordingReady, Recording{Allocation: "gp_1", VirtualNumber: vn(1)}, time.UTC, noon), EventRecordingReady, pinNames},
	} {
		var fields map[string]any
		if err := json.Unmarshal(c.e.Data, &fields); err != nil {
			t.Fatal(err)
		}
		if c.e.Type != c.typ {
			t.Errorf("%s: is %s", name, c.e.Type)
		}
		for k, want := range c.want {
			if fields[k] != want {
				t.Errorf("%s: %s is %v", name, k, fields[k])
			}
		}
	}
}

func TestAnEventNeverHoldsAPIN(t *testing.T) {
	p := greenpin(t, Draft{From: people(1), To: people(2), CustomField: "order 7"})
	a := active(t, Draft{From: people(1), To: people(2)})
	p.PIN, a.PIN, a.ToPIN = "48017", "59131", "70629"
	for _, typ := range []EventType{EventCreated, EventUpdated, EventDeallocated} {
		for _, e := range []Event{AllocationEvent("evt_1", typ, p, time.UTC, "", noon), AllocationEvent("evt_1", typ, a, time.UTC, "", noon)} {
			whole, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, pin := range append(p.PINs(), a.PINs()...) {
				if strings.Contains(string(whole), pin.Reveal()) || strings.Contains(string(e.Data), pin.Reveal()) {
					t.Errorf("%s of %s: %s", typ, e.Allocation, e.Data)
				}
			}
			if strings.Contains(strings.ToLower(string(e.Data)), `pin"`) {
				t.Errorf("%s of %s: speaks of a PIN: %s", typ, e.Allocation, e.Data)
			}
		}
	}
}

func TestAGreenPinAllocationsEventTellsThatItExpired(t *testing.T) {
	p := greenpin(t, Draft{From: people(1, 2), CustomField: "x"})
	e := AllocationEvent("evt_1", EventDeallocated, p, time.UTC, EndedByExpired, p.ExpiresAt)
	want := `{"vn":"+914000000001","greenpin_id":"gp_1","from":["+919800000001","+919800000002"],"to":[],` +
		`"status":"expired","usage":"twoway","record":false,"custom_field":"x","created_at":"2024-06-15T12:00:00Z",` +
		`"expires_at":"2024-06-15T13:00:00Z","reason":"expired"}`
	if string(e.Data) != want || e.Allocation != "gp_1" || e.Tenant != "acme" {
		t.Errorf("data %s\nwant %s", e.Data, want)
	}
}

func TestOnlyACallThatWasRecordedNamesARecording(t *testing.T) {
	c := Call{ID: "call_1", Tenant: "acme", Allocation: "gvn_1", VirtualNumber: vn(1), StartedAt: noon}
	for recorded, want := range map[bool]string{false: `"recording_url":null`, true: `"recording_url":"/v1/tenants/acme/calls/call_1/recording"`} {
		c.Recorded = recorded
		if e := CallEvent("evt_1", EventCallCompleted, c, time.UTC, noon); !strings.Contains(string(e.Data), want) {
			t.Errorf("recorded %v: %s", recorded, e.Data)
		}
	}
}
