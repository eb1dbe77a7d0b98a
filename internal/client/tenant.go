package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// NewAllocation asks for an allocation.
type NewAllocation struct {
	CallerIDNumber string       `json:"caller_id_number"` // E.164, or "auto"
	From           []string     `json:"from"`
	To             []string     `json:"to"`
	Duration       int64        `json:"duration,omitempty"` // seconds; 0 for the default
	Record         bool         `json:"record,omitempty"`
	CustomField    string       `json:"custom_field,omitempty"`
	Usage          string       `json:"usage,omitempty"`
	Preferences    *Preferences `json:"preferences,omitempty"`
}

// Preferences narrow the automatic choice of a number.
type Preferences struct {
	Region     string `json:"region,omitempty"`
	Type       string `json:"type,omitempty"`
	Strictness string `json:"strictness,omitempty"`
}

// Allocation is an allocation as the API shows it. Which fields are filled
// depends on the operation, as the contract says.
type Allocation struct {
	GreenVNID     string   `json:"greenvn_id"`
	VirtualNumber string   `json:"virtual_number"`
	From          []string `json:"from"`
	To            []string `json:"to"`
	Status        string   `json:"status"`
	Record        bool     `json:"record"`
	CustomField   string   `json:"custom_field"`
	CallCount     int64    `json:"call_count"`
	CreatedAt     string   `json:"created_at"`
	UpdatedAt     string   `json:"updated_at"`
	ExpiresAt     string   `json:"expires_at"`
	Usage         string   `json:"usage"`
	Calls         Tally    `json:"calls"`
	DeletedAt     string   `json:"deleted_at"`
	EndReason     string   `json:"end_reason"`
	PINs          PINs     `json:"pins"` // empty without the fallback
}

// PINs are what the people of a side enter when they call from another phone.
type PINs struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Tally counts the calls of an allocation.
type Tally struct {
	Attempted   int64 `json:"attempted"`
	Connected   int64 `json:"connected"`
	TalkSeconds int64 `json:"talk_seconds"`
}

// Parties replace one side or both; nil leaves a side as it is.
type Parties struct {
	From []string `json:"from,omitempty"`
	To   []string `json:"to,omitempty"`
}

// Patch changes what it names; nil leaves a field as it is.
type Patch struct {
	Duration    *int64  `json:"duration,omitempty"` // seconds from now
	Record      *bool   `json:"record,omitempty"`
	CustomField *string `json:"custom_field,omitempty"`
}

// AllocationFilter narrows a list; empty fields do not.
type AllocationFilter struct {
	Page
	Status        string
	VirtualNumber string
	Party         string
}

// CallRecord is one incoming call.
type CallRecord struct {
	CallSID          string    `json:"call_sid"`
	TenantID         string    `json:"tenant_id"`
	Node             string    `json:"node"`
	GreenVNID        string    `json:"greenvn_id"`
	GreenVN          string    `json:"greenvn"`
	From             string    `json:"from"`
	To               string    `json:"to"`
	Direction        string    `json:"direction"`
	Status           string    `json:"status"`
	CallType         string    `json:"call_type"`
	DialCallStatus   string    `json:"dial_call_status"`
	StartTime        string    `json:"start_time"`
	AnswerTime       string    `json:"answer_time"`
	EndTime          string    `json:"end_time"`
	DialCallDuration int64     `json:"dial_call_duration"`
	OnCallDuration   int64     `json:"on_call_duration"`
	Cause            string    `json:"cause"`
	Reason           string    `json:"reason"`
	Explanation      string    `json:"explanation"` // only of a single call
	CustomField      string    `json:"custom_field"`
	LastKnownRoute   bool      `json:"last_known_route"` // the database was away, and it was routed by what was read last
	RecordingURL     string    `json:"recording_url"`
	Legs             []CallLeg `json:"legs"`
	Ladder           *Ladder   `json:"ladder"`  // of a single call
	Quality          *Quality  `json:"quality"` // of the media of a call that was answered, once it has ended
	GreenPinID       string    `json:"greenpin_id"`
	VN               string    `json:"vn"`
}

// Quality is how the media of a call was carried, on the legs of both sides.
type Quality struct {
	Caller LegQuality `json:"caller"`
	Callee LegQuality `json:"callee"`
}

// LegQuality is the media of one leg as seen from the server, and as its phone
// reports it. What nobody told is nil.
type LegQuality struct {
	PacketsReceived uint64   `json:"packets_received"`
	PacketsSent     uint64   `json:"packets_sent"`
	PacketsLost     uint64   `json:"packets_lost"`
	JitterMS        float64  `json:"jitter_ms"`
	RoundTripMS     *float64 `json:"round_trip_ms"`
	PeerPacketsLost *uint64  `json:"peer_packets_lost"`
	PeerJitterMS    *float64 `json:"peer_jitter_ms"`
	Strays          uint64   `json:"strays"`
}

// CallLeg is one attempt to ring one number.
type CallLeg struct {
	To          string `json:"to"`
	Trunk       string `json:"trunk"`
	Rang        bool   `json:"rang"`
	Answered    bool   `json:"answered"`
	SIPStatus   int64  `json:"sip_status"`
	Cause       string `json:"cause"`
	RingSeconds int64  `json:"ring_seconds"`
}

// RouteQuery is a call that might come.
type RouteQuery struct {
	Caller        string `json:"caller,omitempty"` // "": he withholds his number
	VirtualNumber string `json:"virtual_number"`
	PIN           string `json:"pin,omitempty"` // that he enters if he is asked
}

// RouteExplanation is what would become of a call now, and why.
type RouteExplanation struct {
	Outcome          string       `json:"outcome"`
	Rule             string       `json:"rule"`
	Reason           string       `json:"reason"`
	Explanation      string       `json:"explanation"`
	GreenVNID        string       `json:"greenvn_id"`
	GreenPinID       string       `json:"greenpin_id"`
	Direction        string       `json:"direction"`
	Targets          []string     `json:"targets"`
	RingStrategy     string       `json:"ring_strategy"`
	RingSeconds      int64        `json:"ring_seconds"`
	RingTotalSeconds int64        `json:"ring_total_seconds"`
	Trunks           []RouteTrunk `json:"trunks"`
	Heard            *RouteHeard  `json:"heard"`
}

// RouteTrunk is one way to ring a number.
type RouteTrunk struct {
	Trunk    string `json:"trunk"`
	State    string `json:"state"`
	Tried    bool   `json:"tried"`
	Priority int64  `json:"priority"`
	Weight   int64  `json:"weight"`
}

// RouteHeard is what a caller hears who is not connected.
type RouteHeard struct {
	Announcement string `json:"announcement"`
	SIPStatus    int64  `json:"sip_status"`
}

// Ladder is what the server saw of a call's SIP messages, numbers hidden.
type Ladder struct {
	Legs     []LadderLeg     `json:"legs"`
	Messages []LadderMessage `json:"messages"`
	LeftOut  int64           `json:"left_out"`
}

// LadderLeg is one dialog: a is the caller's, b1 the first attempt to ring somebody.
type LadderLeg struct {
	Leg       string `json:"leg"`
	Trunk     string `json:"trunk"`
	Transport string `json:"transport"`
}

// LadderMessage is one SIP message.
type LadderMessage struct {
	Offset    float64  `json:"offset_ms"`
	Leg       string   `json:"leg"`
	Direction string   `json:"direction"`
	Again     bool     `json:"again"`
	Message   string   `json:"message"`
	Method    string   `json:"method"`
	Status    int64    `json:"status"`
	CSeq      int64    `json:"cseq"`
	Number    string   `json:"number"`
	Digit     bool     `json:"digit"`
	Fields    []string `json:"fields"`
	SDP       string   `json:"sdp"`
}

// CallFilter narrows a list of calls; zero fields do not.
type CallFilter struct {
	Page
	GreenVNID     string
	GreenPinID    string
	Status        string // "live" or "ended"
	Cause         string
	Direction     string // "from_to" or "to_from"
	VirtualNumber string
	Party         string // who called, or was rung last or answered
	Answered      string // "true" or "false"
	Recorded      string // "true" or "false"
	Since         time.Time
	Until         time.Time
}

// all is the query of a list that is narrowed.
func (f CallFilter) all() url.Values {
	q := f.query()
	for name, value := range map[string]string{"greenvn_id": f.GreenVNID, "greenpin_id": f.GreenPinID, "status": f.Status, "cause": f.Cause,
		"direction": f.Direction, "virtual_number": f.VirtualNumber, "party": f.Party, "answered": f.Answered, "recorded": f.Recorded} {
		put(q, name, value)
	}
	putTime(q, "since", f.Since)
	putTime(q, "until", f.Until)
	return q
}

// Event is one event.
type Event struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Timestamp  string          `json:"timestamp"`
	GreenVNID  string          `json:"greenvn_id"`
	GreenPinID string          `json:"greenpin_id"`
	CallSID    string          `json:"call_sid"`
	Data       json.RawMessage `json:"data"`
}

// EventFilter narrows a list of events; zero fields do not.
type EventFilter struct {
	Page
	Since time.Time
	Until time.Time
}

// Number is a number of a pool.
type Number struct {
	Number            string `json:"number"`
	Sharing           string `json:"sharing"`
	Region            string `json:"region"`
	Type              string `json:"type"`
	ActiveAllocations int    `json:"active_allocations"`
	RestedAt          string `json:"rested_at"`
	CreatedAt         string `json:"created_at"`
	Health            struct {
		Status string `json:"status"` // "ok" or "degraded"
		Since  string `json:"since"`
		Reason string `json:"reason"`
	} `json:"health"`
}

func own(tenant string, rest ...string) []string {
	return append([]string{"tenants", tenant}, rest...)
}

// CreateAllocation lends a virtual number.
func (c *Client) CreateAllocation(ctx context.Context, tenant string, in NewAllocation, calls ...Call) (Allocation, error) {
	return do[Allocation](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "greenvn"), body: in, calls: calls})
}

// Allocation reads one allocation.
func (c *Client) Allocation(ctx context.Context, tenant, id string) (Allocation, error) {
	return do[Allocation](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "greenvn", id)})
}

// Allocations reads a page of allocations, newest first.
func (c *Client) Allocations(ctx context.Context, tenant string, f AllocationFilter) (List[Allocation], error) {
	return do[List[Allocation]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "greenvn"), query: f.all()})
}

// all is the query of a list that is narrowed.
func (f AllocationFilter) all() url.Values {
	q := f.query()
	put(q, "status", f.Status)
	put(q, "virtual_number", f.VirtualNumber)
	put(q, "party", f.Party)
	return q
}

// UpdateParties replaces one side or both.
func (c *Client) UpdateParties(ctx context.Context, tenant, id string, in Parties, calls ...Call) (Allocation, error) {
	return do[Allocation](ctx, c, asTenant, request{method: http.MethodPut, path: own(tenant, "greenvn", id, "call-party"), body: in, calls: calls})
}

// UpdateNumber moves an allocation to another virtual number.
func (c *Client) UpdateNumber(ctx context.Context, tenant, id, number string, calls ...Call) (Allocation, error) {
	body := map[string]string{"caller_id_number": number}
	return do[Allocation](ctx, c, asTenant, request{method: http.MethodPut, path: own(tenant, "greenvn", id, "vn"), body: body, calls: calls})
}

// PatchAllocation changes duration, recording or the custom field.
func (c *Client) PatchAllocation(ctx context.Context, tenant, id string, in Patch, calls ...Call) (Allocation, error) {
	return do[Allocation](ctx, c, asTenant, request{method: http.MethodPatch, path: own(tenant, "greenvn", id), body: in, calls: calls})
}

// DeleteAllocation ends an allocation; terminate ends its calls too.
func (c *Client) DeleteAllocation(ctx context.Context, tenant, id string, terminate bool, calls ...Call) (Allocation, error) {
	return do[Allocation](ctx, c, asTenant, request{method: http.MethodDelete, path: own(tenant, "greenvn", id), query: terminated(terminate), calls: calls})
}

func terminated(terminate bool) url.Values {
	if !terminate {
		return nil
	}
	return url.Values{"terminate_calls": {"true"}}
}

// Numbers reads a page of the tenant's pool.
func (c *Client) Numbers(ctx context.Context, tenant string, p Page) (List[Number], error) {
	return do[List[Number]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "numbers"), query: p.query()})
}

// Calls reads a page of calls, newest first.
func (c *Client) Calls(ctx context.Context, tenant string, f CallFilter) (List[CallRecord], error) {
	return do[List[CallRecord]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "calls"), query: f.all()})
}

// CallsCSV writes all calls that f leaves, newest first, as CSV with a line of names;
// the page of f does not matter. An error may come after a part has been written.
func (c *Client) CallsCSV(ctx context.Context, tenant string, f CallFilter, w io.Writer) error {
	f.Page = Page{}
	req, err := c.prepare(ctx, asTenant, request{method: http.MethodGet, path: own(tenant, "calls.csv"), query: f.all()})
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or given up
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what came of it says enough
		return errorOf(resp, body)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the table: %w", err)
	}
	return nil
}

func putTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.Format(time.RFC3339))
	}
}

// Call reads one call with its legs.
func (c *Client) Call(ctx context.Context, tenant, sid string) (CallRecord, error) {
	return do[CallRecord](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "calls", sid)})
}

// ExplainRoute says what would become of a call now. It rings nobody.
func (c *Client) ExplainRoute(ctx context.Context, tenant string, q RouteQuery) (RouteExplanation, error) {
	return do[RouteExplanation](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "routes", "explain"), body: q})
}

// Events reads a page of events, oldest first. Its cursor asks for what comes
// after, now or later.
func (c *Client) Events(ctx context.Context, tenant string, f EventFilter) (List[Event], error) {
	q := f.query()
	putTime(q, "since", f.Since)
	putTime(q, "until", f.Until)
	return do[List[Event]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "events"), query: q})
}
