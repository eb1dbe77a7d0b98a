package masking

import (
	"testing"
	"time"
)

func TestARecordingIsDueWhenItsTenantKeepsItNoLonger(t *testing.T) {
	const day = 24 * time.Hour
	stored := Recording{Status: RecordingStored, StartedAt: noon, StoredAt: noon.Add(time.Hour)}
	held, running, failed, deleted := stored, stored, stored, stored
	held.Held = true
	running.Status, failed.Status, deleted.Status = RecordingRunning, RecordingFailed, RecordingDeleted
	for name, c := range map[string]struct {
		r    Recording
		keep time.Duration
		now  time.Time
		want bool
	}{
		"in time":                      {stored, 30 * day, noon.Add(30*day - 1), false},
		"at its time":                  {stored, 30 * day, noon.Add(30 * day), true},
		"long after":                   {stored, 30 * day, noon.Add(300 * day), true},
		"kept until somebody deletes":  {stored, 0, noon.Add(3000 * day), false},
		"under legal hold":             {held, 30 * day, noon.Add(300 * day), false},
		"on its way to the blob store": {running, 30 * day, noon.Add(300 * day), false},
		"failed":                       {failed, 30 * day, noon.Add(300 * day), false},
		"deleted before":               {deleted, 30 * day, noon.Add(300 * day), false},
		"a clock that was set back":    {stored, 30 * day, noon.Add(-day), false},
	} {
		s := DefaultSettings(time.UTC)
		s.RecordingRetention = c.keep
		if got := c.r.Due(s, c.now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestARecordingIsGivenOutByItsTenantAndCall(t *testing.T) {
	if got := RecordingURL("acme", "call_1"); got != "/v1/tenants/acme/calls/call_1/recording" {
		t.Error(got)
	}
	if err := ErrHeld(); err.Kind != Conflict || err.Code != CodeRecordingHeld {
		t.Errorf("%+v", err)
	}
}

func TestARecordingsEventTellsWhereItIsOrWhyThereIsNone(t *testing.T) {
	zone := time.FixedZone("", 5*3600+1800)
	r := Recording{Call: "call_1", Tenant: "acme", Allocation: "gvn_1", VirtualNumber: vn(1), Status: RecordingStored, StartedAt: noon,
		StoredAt: noon.Add(70 * time.Second), Key: "acme/secret-key", Duration: 66*time.Second + 999*time.Millisecond, Size: 1 << 33,
		Peaks: []byte("waveform"), Truncated: true, Dropped: 7}
	e := RecordingEvent("evt_1", EventRecordingReady, r, zone, noon.Add(71*time.Second))
	want := `{"greenvn":"+914000000001","greenvn_id":"gvn_1","call_sid":"call_1",` +
		`"recording_url":"/v1/tenants/acme/calls/call_1/recording","duration":66,"size":8589934592,"truncated":true,` +
		`"start_time":"2024-06-15T17:30:00+05:30","current_time":"2024-06-15T17:31:11+05:30"}`
	if string(e.Data) != want {
		t.Errorf("data %s\nwant %s", e.Data, want)
	}
	if e.ID != "evt_1" || e.Type != EventRecordingReady || e.Tenant != "acme" || e.Allocation != "gvn_1" || e.Call != "call_1" ||
		!e.At.Equal(noon.Add(71*time.Second)) {
		t.Errorf("event %+v", e)
	}
	failed := r
	failed.Allocation, failed.Status, failed.Reason, failed.Truncated = "gp_1", RecordingFailed, "disk_full", false
	e = RecordingEvent("evt_2", EventRecordingFailed, failed, time.UTC, noon)
	want = `{"vn":"+914000000001","greenpin_id":"gp_1","call_sid":"call_1","recording_url":null,"duration":0,"size":0,"truncated":false,` +
		`"start_time":"2024-06-15T12:00:00Z","current_time":"2024-06-15T12:00:00Z","reason":"disk_full"}`
	if string(e.Data) != want || e.Type != EventRecordingFailed || e.Allocation != "gp_1" {
		t.Errorf("data %s\nwant %s", e.Data, want)
	}
}
