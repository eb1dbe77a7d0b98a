package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
)

// CallRecord is one incoming call. Names and words are those of the published
// call callback where it has them.
type CallRecord struct {
	CallSID          masking.CallID       `json:"call_sid"`
	TenantID         masking.TenantID     `json:"tenant_id,omitempty" doc:"only for the operator"`
	Node             string               `json:"node,omitempty" doc:"only for the operator: which node carries it"`
	GreenVNID        masking.AllocationID `json:"greenvn_id,omitempty" doc:"left out when no allocation matched"`
	GreenVN          string               `json:"greenvn,omitempty" doc:"the virtual number that was called; of a GreenPin allocation's call vn instead"`
	GreenPinID       masking.AllocationID `json:"greenpin_id,omitempty" doc:"when a PIN opened the allocation"`
	VN               string               `json:"vn,omitempty" doc:"the virtual number of a GreenPin allocation's call"`
	From             string               `json:"from,omitempty" doc:"left out when withheld; hidden from the operator"`
	To               string               `json:"to,omitempty" doc:"who was rung last, or answered; hidden from the operator"`
	Direction        masking.Direction    `json:"direction,omitempty" enum:"from_to,to_from"`
	Status           control.CallStatus   `json:"status" enum:"live,ended"`
	CallType         masking.CallType     `json:"call_type" enum:"completed,incomplete,client-hangup,call-attempt"`
	DialCallStatus   masking.DialStatus   `json:"dial_call_status,omitempty" enum:"completed,busy,no-answer,failed,canceled"`
	StartTime        string               `json:"start_time" format:"date-time"`
	AnswerTime       string               `json:"answer_time,omitempty" format:"date-time"`
	EndTime          string               `json:"end_time,omitempty" format:"date-time"`
	DialCallDuration int64                `json:"dial_call_duration" doc:"seconds of ringing"`
	OnCallDuration   int64                `json:"on_call_duration" doc:"seconds of talk"`
	Cause            masking.Cause        `json:"cause,omitempty" doc:"why it ended"`
	Reason           masking.Refusal      `json:"reason,omitempty" doc:"why it was never routed"`
	CustomField      string               `json:"custom_field,omitempty"`
	LastKnownRoute   bool                 `json:"last_known_route,omitempty" doc:"true if the database was away, and it was routed by what the node had read last"`
	Explanation      string               `json:"explanation,omitempty" doc:"why it went where it went, in words; only of a single call"`
	RecordingURL     string               `json:"recording_url,omitempty" doc:"only if it was recorded: path of the sound"`
	Recording        *CallRecording       `json:"recording,omitempty" doc:"only of a single call that was recorded"`
	Quality          *CallQuality         `json:"quality,omitempty" doc:"how its media was carried; only of a single call that was answered, once it has ended"`
	Legs             []CallLeg            `json:"legs,omitempty" doc:"each attempt to ring a number; only of a single call"`
	Ladder           *CallLadder          `json:"ladder,omitempty" doc:"its SIP messages; only of a single call"`
}

// CallLeg is one attempt to ring one number over one trunk.
type CallLeg struct {
	To          string        `json:"to"`
	Trunk       string        `json:"trunk"`
	Rang        bool          `json:"rang"`
	Answered    bool          `json:"answered"`
	SIPStatus   int64         `json:"sip_status,omitempty" doc:"the final response, if one came"`
	Cause       masking.Cause `json:"cause,omitempty"`
	RingSeconds int64         `json:"ring_seconds"`
}

// CallQuality is how the media of a call was carried, on the legs of both sides.
type CallQuality struct {
	Caller LegQuality `json:"caller"`
	Callee LegQuality `json:"callee"`
}

// LegQuality is the media of one leg as seen from here, and as its phone reports it.
type LegQuality struct {
	PacketsReceived uint64   `json:"packets_received" doc:"RTP packets from the phone"`
	PacketsSent     uint64   `json:"packets_sent" doc:"RTP packets to the phone"`
	PacketsLost     uint64   `json:"packets_lost" doc:"from the phone, expected and not arrived"`
	JitterMS        float64  `json:"jitter_ms" doc:"of arrival, at the end (RFC 3550 A.8)"`
	RoundTripMS     *float64 `json:"round_trip_ms,omitempty" doc:"to the phone and back, from its last report"`
	PeerPacketsLost *uint64  `json:"peer_packets_lost,omitempty" doc:"of those sent, as the phone reports; left out if it never did"`
	PeerJitterMS    *float64 `json:"peer_jitter_ms,omitempty" doc:"as the phone reports"`
	Strays          uint64   `json:"strays,omitempty" doc:"packets at the phone's port here that were not from it; dropped"`
}

// EventRecord is one event, as a webhook would carry it, with its time.
type EventRecord struct {
	ID         masking.EventID      `json:"id"`
	Type       masking.EventType    `json:"type"`
	Timestamp  string               `json:"timestamp" format:"date-time"`
	GreenVNID  masking.AllocationID `json:"greenvn_id,omitempty"`
	GreenPinID masking.AllocationID `json:"greenpin_id,omitempty"`
	CallSID    masking.CallID       `json:"call_sid,omitempty"`
	Data       json.RawMessage      `json:"data" doc:"an object; its fields depend on type"`
}

// CallsFilter narrows a list of calls. What is left out does not.
type CallsFilter struct {
	GreenVNID     string `query:"greenvn_id" doc:"calls of this allocation"`
	GreenPinID    string `query:"greenpin_id" doc:"calls of this allocation"`
	Status        string `query:"status" enum:"live,ended"`
	Cause         string `query:"cause" pattern:"^[a-z_]{1,40}$" doc:"calls that ended so"`
	Direction     string `query:"direction" enum:"from_to,to_from"`
	VirtualNumber string `query:"virtual_number" doc:"calls to this number"`
	Party         string `query:"party" doc:"calls that this number made, or in which it was rung last or answered"`
	Answered      string `query:"answered" enum:"true,false"`
	Recorded      string `query:"recorded" enum:"true,false" doc:"whether a recording was begun"`
	Since         string `query:"since" doc:"calls that started at this time or later (RFC 3339)"`
	Until         string `query:"until" doc:"calls that started before this time (RFC 3339)"`
}

// CallsInput is the request of the list of calls.
type CallsInput struct {
	TenantPath
	Paged
	CallsFilter
}

// CallInput is the request of one call.
type CallInput struct {
	TenantPath
	CallSID string `path:"call_sid"`
}

// EventsInput is the request of the list of events.
type EventsInput struct {
	TenantPath
	Paged
	Since string `query:"since" doc:"events of this time or later (RFC 3339)"`
	Until string `query:"until" doc:"events before this time (RFC 3339)"`
}

// AnyCallInput is the operator's request of one call.
type AnyCallInput struct {
	CallSID string `path:"call_sid"`
}

// LiveInput is the request of the operator's list of calls.
type LiveInput struct{ Paged }

// records declares the operations on what happened.
func (r *router) records() {
	operation[CallsInput, list[CallRecord]](r, tenantOp("GET", "/calls", "calls-list", "List calls, newest first"), r.calls)
	r.callsTable()
	operation[CallInput, CallRecord](r, tenantOp("GET", "/calls/{call_sid}", "calls-get", "Get a call with its legs and its SIP ladder"), r.call)
	replay := tenantOp("GET", "/events", "events-list", "Replay events, oldest first")
	replay.Errors = []int{http.StatusGone}
	operation[EventsInput, list[EventRecord]](r, replay, r.events)
	operation[LiveInput, list[CallRecord]](r, operatorOp("GET", "/calls", "admin-calls-live", "List the calls that are up"), r.live)
	operation[AnyCallInput, CallRecord](r, operatorOp("GET", "/calls/{call_sid}", "admin-calls-get",
		"Get a call of any tenant with its SIP ladder, numbers hidden"), r.anyCall)
}

func (s *server) calls(ctx context.Context, in *CallsInput) (control.Answer, error) {
	q, err := in.query()
	if err != nil {
		return control.Answer{}, err
	}
	q.Limit = in.Limit
	if q.After, err = cursorID[masking.CallID](masking.PrefixCall, in.Cursor); err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	page, more, err := s.Plane.Records.Calls(ctx, t.ID, q)
	if err != nil {
		return control.Answer{}, err
	}
	present := func(c masking.Call) CallRecord { return callRecord(c, t.Settings.Zone) }
	return render(http.StatusOK, newList(page, present, more, callCursor)), nil
}

// query is the filter in the words of control.
func (in CallsFilter) query() (control.CallQuery, error) {
	q := control.CallQuery{Status: control.CallStatus(in.Status), Cause: masking.Cause(in.Cause), Direction: masking.Direction(in.Direction),
		Answered: either(in.Answered), Recorded: either(in.Recorded)}
	var err error
	for _, read := range []func() error{
		func() error { q.Allocation, err = in.allocation(); return err },
		func() error { q.VirtualNumber, err = queryNumber("virtual_number", in.VirtualNumber); return err },
		func() error { q.Party, err = queryNumber("party", in.Party); return err },
		func() error { q.Since, err = queryTime("since", in.Since); return err },
		func() error { q.Until, err = queryTime("until", in.Until); return err },
	} {
		if err := read(); err != nil {
			return q, err
		}
	}
	return q, nil
}

// either reads a bool that may be left out.
func either(text string) *bool {
	if text == "" {
		return nil
	}
	yes := text == "true"
	return &yes
}

// allocation is the one whose calls are asked for; "" for all.
func (in CallsFilter) allocation() (masking.AllocationID, error) {
	switch {
	case in.GreenVNID != "" && in.GreenPinID != "":
		return "", invalidField("greenpin_id", "greenpin_id and greenvn_id cannot both be given")
	case in.GreenVNID != "" && !plausible(masking.PrefixAllocation, in.GreenVNID):
		return "", invalidField("greenvn_id", "greenvn_id is not an allocation's id")
	case in.GreenPinID != "" && !plausible(masking.PrefixPIN, in.GreenPinID):
		return "", invalidField("greenpin_id", "greenpin_id is not an allocation's id")
	}
	return masking.AllocationID(in.GreenVNID + in.GreenPinID), nil
}

func callCursor(c masking.Call) string { return cursor(string(c.ID)) }

func (s *server) call(ctx context.Context, in *CallInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	c, err := s.Plane.Records.Call(ctx, t.ID, id)
	if err != nil {
		return control.Answer{}, err
	}
	v := oneCall(c.Call, t.Settings.Zone)
	v.Recording = callRecording(c.Recording)
	return render(http.StatusOK, v), nil
}

// anyCall shows the operator a call. Whose numbers they are is the tenant's business.
func (s *server) anyCall(ctx context.Context, in *AnyCallInput) (control.Answer, error) {
	id, err := (&CallInput{CallSID: in.CallSID}).id()
	if err != nil {
		return control.Answer{}, err
	}
	c, err := s.Plane.Records.AnyCall(ctx, id)
	if err != nil {
		return control.Answer{}, err
	}
	v := oneCall(c.Call, time.UTC).hide(c.Call)
	v.Explanation = callWords(c.Call, e164.Number.Hidden)
	return render(http.StatusOK, v), nil
}

// oneCall is a call with what lists leave out.
func oneCall(c masking.Call, zone *time.Location) CallRecord {
	v := callRecord(c, zone)
	v.Explanation = callWords(c, e164.Number.E164)
	v.Quality = callQuality(c.Quality)
	for _, a := range c.Attempts {
		v.Legs = append(v.Legs, CallLeg{To: a.Target.E164(), Trunk: a.Trunk, Rang: a.Rang, Answered: a.Answered,
			SIPStatus: int64(a.Status), Cause: a.Cause, RingSeconds: int64(a.Ring / time.Second)})
	}
	v.Ladder = callLadder(c.Ladder)
	return v
}

func callQuality(q masking.Quality) *CallQuality {
	if q == (masking.Quality{}) {
		return nil
	}
	return &CallQuality{Caller: legQuality(q.Caller), Callee: legQuality(q.Callee)}
}

func legQuality(q masking.LegQuality) LegQuality {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	v := LegQuality{PacketsReceived: q.Received, PacketsSent: q.Sent, PacketsLost: q.Lost, JitterMS: ms(q.Jitter), Strays: q.Strays}
	if q.RoundTrip > 0 {
		trip := ms(q.RoundTrip)
		v.RoundTripMS = &trip
	}
	if q.Reported {
		lost, jitter := q.PeerLost, ms(q.PeerJitter)
		v.PeerPacketsLost, v.PeerJitterMS = &lost, &jitter
	}
	return v
}

// live shows the operator which calls are up. Whose numbers they are is the
// tenant's business: they are hidden.
func (s *server) live(ctx context.Context, in *LiveInput) (control.Answer, error) {
	after, err := cursorID[masking.CallID](masking.PrefixCall, in.Cursor)
	if err != nil {
		return control.Answer{}, err
	}
	page, more, err := s.Plane.Records.Live(ctx, after, in.Limit)
	if err != nil {
		return control.Answer{}, err
	}
	present := func(c masking.Call) CallRecord { return callRecord(c, time.UTC).hide(c) }
	return render(http.StatusOK, newList(page, present, more, callCursor)), nil
}

func callRecord(c masking.Call, zone *time.Location) CallRecord {
	v := CallRecord{CallSID: c.ID,
		From: c.Caller.E164(), To: c.Callee.E164(), Direction: c.Direction, Status: control.EndedCalls,
		CallType: c.Type(), DialCallStatus: c.DialStatus(), StartTime: masking.Stamp(c.StartedAt, zone),
		AnswerTime: optionalStamp(c.AnsweredAt, zone), EndTime: optionalStamp(c.EndedAt, zone),
		DialCallDuration: int64(c.RingTime / time.Second), OnCallDuration: int64(c.TalkTime / time.Second),
		Cause: c.Cause, Reason: c.Refusal, CustomField: c.CustomField, LastKnownRoute: c.LastKnown}
	if c.EndedAt.IsZero() {
		v.Status = control.LiveCalls
	}
	if v.GreenVNID, v.GreenPinID = apart(c.Allocation); v.GreenPinID != "" {
		v.VN = c.VirtualNumber.E164()
	} else {
		v.GreenVN = c.VirtualNumber.E164()
	}
	if c.Recorded {
		v.RecordingURL = masking.RecordingURL(c.Tenant, c.ID)
	}
	return v
}

// apart tells by which of the two APIs an allocation was made; one is "".
func apart(id masking.AllocationID) (greenVN, greenPin masking.AllocationID) {
	if (masking.Allocation{ID: id}).Product() == masking.GreenPin {
		return "", id
	}
	return id, ""
}

func optionalStamp(t time.Time, zone *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return masking.Stamp(t, zone)
}

// events replays the outbox. Unlike other lists it always gives a cursor, the
// one it was asked with if nothing came: events go on, and a reader that keeps
// asking with it misses none.
func (s *server) events(ctx context.Context, in *EventsInput) (control.Answer, error) {
	q := control.EventQuery{Limit: in.Limit}
	var err error
	if q.Since, err = queryTime("since", in.Since); err != nil {
		return control.Answer{}, err
	}
	if q.Until, err = queryTime("until", in.Until); err != nil {
		return control.Answer{}, err
	}
	if q.After, err = eventCursor(in.Cursor); err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	page, more, err := s.Plane.Records.Events(ctx, t.ID, q)
	if err != nil {
		return control.Answer{}, err
	}
	l := newList(page, eventRecord(t.Settings.Zone), more, eventPlace)
	if l.NextCursor = in.Cursor; len(page) > 0 {
		l.NextCursor = eventPlace(page[len(page)-1])
	}
	return render(http.StatusOK, l), nil
}

// eventPlace is the cursor of an event.
func eventPlace(e control.StoredEvent) string {
	return cursor(eventPrefix + strconv.FormatInt(e.Cursor, 10))
}

// eventPrefix tells a cursor of events from those of other lists.
const eventPrefix = "at_"

func eventCursor(text string) (int64, error) {
	last, err := cursorID[string](eventPrefix, text)
	if err != nil || last == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(last[len(eventPrefix):], 10, 64)
	if err != nil || n < 0 {
		return 0, errCursor()
	}
	return n, nil
}

func eventRecord(zone *time.Location) func(control.StoredEvent) EventRecord {
	return func(e control.StoredEvent) EventRecord {
		v := EventRecord{ID: e.ID, Type: e.Type, Timestamp: masking.Stamp(e.At, zone), CallSID: e.Call, Data: e.Data}
		v.GreenVNID, v.GreenPinID = apart(e.Allocation)
		return v
	}
}
