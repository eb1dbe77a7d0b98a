package masking

import (
	"time"

	"tandem/internal/e164"
)

// RecordingStatus says what there is of a recording.
type RecordingStatus string

// The statuses of a recording.
const (
	RecordingRunning RecordingStatus = "recording" // the call is up, or its file on the way to the blob store
	RecordingStored  RecordingStatus = "stored"
	RecordingFailed  RecordingStatus = "failed"
	RecordingDeleted RecordingStatus = "deleted" // by the tenant or by retention
)

// Recording is what is known of a call's recording; the sound itself is in the
// blob store under Key.
type Recording struct {
	Call          CallID
	Tenant        TenantID
	Allocation    AllocationID
	VirtualNumber e164.Number
	Node          string // on whose disk it is until it is stored; "" = that of the node of its call
	Status        RecordingStatus
	StartedAt     time.Time
	StoredAt      time.Time // or when it failed
	DeletedAt     time.Time
	Key           string
	Duration      time.Duration
	Size          int64  // bytes of the file that is given out
	Peaks         []byte // the waveform; see voice/record
	Truncated     bool   // its end was lost with the process
	Dropped       int    // packets that the recorder did not keep up with
	Reason        string // of RecordingFailed
	Held          bool   // legal hold: neither retention nor the tenant deletes it
}

// RecordingURL is where a recording is given out: a path of the API.
func RecordingURL(t TenantID, c CallID) string {
	return "/v1/tenants/" + string(t) + "/calls/" + string(c) + "/recording"
}

// Due reports whether retention removes the recording now.
func (r Recording) Due(s Settings, now time.Time) bool {
	return r.Status == RecordingStored && !r.Held && s.RecordingRetention > 0 && !now.Before(r.StartedAt.Add(s.RecordingRetention))
}

// ErrHeld refuses to delete a recording under legal hold.
func ErrHeld() *Error {
	return &Error{Kind: Conflict, Code: CodeRecordingHeld, Message: "the recording is under legal hold"}
}

// RecordingEvent tells that a recording is ready or has failed.
func RecordingEvent(id EventID, typ EventType, r Recording, zone *time.Location, now time.Time) Event {
	data := recordingData{named: name(r.VirtualNumber, r.Allocation), CallSID: r.Call, StartTime: Stamp(r.StartedAt, zone),
		CurrentTime: Stamp(now, zone), Reason: r.Reason, Truncated: r.Truncated}
	if typ == EventRecordingReady {
		url := RecordingURL(r.Tenant, r.Call)
		data.RecordingURL, data.Duration, data.Size = &url, int64(r.Duration/time.Second), r.Size
	}
	return Event{ID: id, Type: typ, Tenant: r.Tenant, Allocation: r.Allocation, Call: r.Call, At: now, Data: mustJSON(data)}
}

type recordingData struct {
	named
	CallSID      CallID  `json:"call_sid"`
	RecordingURL *string `json:"recording_url"`
	Duration     int64   `json:"duration"` // seconds
	Size         int64   `json:"size"`     // bytes
	Truncated    bool    `json:"truncated"`
	StartTime    string  `json:"start_time"`
	CurrentTime  string  `json:"current_time"`
	Reason       string  `json:"reason,omitempty"`
}
