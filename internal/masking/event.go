package masking

import (
	"encoding/json"
	"time"

	"tandem/internal/e164"
)

// EventType says of what an event tells (docs/webhooks.md).
type EventType string

// The event types that exist so far. Those of GreenVN allocations stand for the
// same of GreenPin ones: AllocationEvent names them by the allocation.
const (
	EventCreated       EventType = "greenvn.created"
	EventUpdated       EventType = "greenvn.updated"
	EventDeallocated   EventType = "greenvn.deallocated"
	EventCallRinging   EventType = "call.ringing"
	EventCallAnswered  EventType = "call.answered"
	EventCallCompleted EventType = "call.completed"
	EventCallRejected  EventType = "call.rejected"

	EventRecordingReady  EventType = "recording.ready"
	EventRecordingFailed EventType = "recording.failed"

	EventGuardTripped EventType = "guard.tripped"

	EventNumberDegraded EventType = "number.degraded"
)

// Event tells of one change. It is written in the transaction of that change.
type Event struct {
	ID         EventID
	Type       EventType
	Tenant     TenantID
	Allocation AllocationID // "" when none is concerned
	Call       CallID       // "" when none is concerned
	At         time.Time
	Data       json.RawMessage // an object, as the tenant's webhook will carry it
}

// AllocationEvent makes an event about an allocation. reason is for
// EventDeallocated, "" otherwise.
func AllocationEvent(id EventID, typ EventType, a Allocation, zone *time.Location, reason EndReason, now time.Time) Event {
	data := allocationData{
		named: name(a.VirtualNumber, a.ID), From: Texts(a.From), To: Texts(a.To),
		Status: a.Status(now), Usage: a.Usage, Record: a.Record, CustomField: a.CustomField,
		CreatedAt: Stamp(a.CreatedAt, zone), ExpiresAt: Stamp(a.ExpiresAt, zone), Reason: reason,
	}
	return Event{ID: id, Type: typ.of(a.Product()), Tenant: a.Tenant, Allocation: a.ID, At: now, Data: mustJSON(data)}
}

// named is how an event names an allocation and its number: by the names of the
// API that made it.
type named struct {
	GreenVN    string       `json:"greenvn,omitempty"`
	GreenVNID  AllocationID `json:"greenvn_id,omitempty"`
	VN         string       `json:"vn,omitempty"`
	GreenPinID AllocationID `json:"greenpin_id,omitempty"`
}

func name(virtual e164.Number, id AllocationID) named {
	if (Allocation{ID: id}).Product() == GreenPin {
		return named{VN: virtual.E164(), GreenPinID: id}
	}
	return named{GreenVN: virtual.E164(), GreenVNID: id}
}

type allocationData struct {
	named
	From        []string  `json:"from"`
	To          []string  `json:"to"`
	Status      Status    `json:"status"`
	Usage       Usage     `json:"usage"`
	Record      bool      `json:"record"`
	CustomField string    `json:"custom_field"`
	CreatedAt   string    `json:"created_at"`
	ExpiresAt   string    `json:"expires_at"`
	Reason      EndReason `json:"reason,omitempty"`
}

// CallEvent makes an event about a call, with the names of the published call
// callback and real JSON types.
func CallEvent(id EventID, typ EventType, c Call, zone *time.Location, now time.Time) Event {
	data := callData{
		named: name(c.VirtualNumber, c.Allocation), CallSID: c.ID,
		From: c.Caller.E164(), To: c.Callee.E164(), CallType: c.Type(), Direction: c.Direction,
		StartTime: Stamp(c.StartedAt, zone), CurrentTime: Stamp(now, zone),
		DialCallDuration: int64(c.RingTime / time.Second), OnCallDuration: int64(c.TalkTime / time.Second),
		DialCallStatus: c.DialStatus(), CustomField: c.CustomField, Cause: c.Cause, Reason: c.Refusal,
	}
	if c.Recorded {
		url := RecordingURL(c.Tenant, c.ID)
		data.RecordingURL = &url
	}
	return Event{ID: id, Type: typ, Tenant: c.Tenant, Allocation: c.Allocation, Call: c.ID, At: now, Data: mustJSON(data)}
}

type callData struct {
	named
	CallSID          CallID     `json:"call_sid"`
	From             string     `json:"from"`
	To               string     `json:"to,omitempty"`
	CallType         CallType   `json:"call_type"`
	Direction        Direction  `json:"direction,omitempty"`
	StartTime        string     `json:"start_time"`
	CurrentTime      string     `json:"current_time"`
	DialCallDuration int64      `json:"dial_call_duration"`
	OnCallDuration   int64      `json:"on_call_duration"`
	DialCallStatus   DialStatus `json:"dial_call_status,omitempty"`
	RecordingURL     *string    `json:"recording_url"`
	CustomField      string     `json:"custom_field"`
	Cause            Cause      `json:"cause,omitempty"`
	Reason           Refusal    `json:"reason,omitempty"`
}

// Stamp writes a time as the API does: RFC 3339, whole seconds, in zone.
func Stamp(t time.Time, zone *time.Location) string {
	return t.In(zone).Truncate(time.Second).Format(time.RFC3339)
}

// Texts writes numbers out in full, for their owner.
func Texts(numbers []e164.Number) []string {
	out := make([]string, len(numbers))
	for i, n := range numbers {
		out[i] = n.E164()
	}
	return out
}

// mustJSON marshals structs of plain fields, which cannot fail.
func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
