package masking

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// WebhookID names an endpoint: "wh_…".
type WebhookID string

// PrefixWebhook begins the identifiers of endpoints.
const PrefixWebhook = "wh_"

// Limits of endpoints.
const (
	MostWebhooks   = 10 // of one tenant
	MaxWebhookURL  = 2048
	SecretOverlaps = 24 * time.Hour // how long the secret before still signs
)

// Webhook is an endpoint: where a tenant is told of events.
type Webhook struct {
	ID      WebhookID
	Tenant  TenantID
	URL     string
	Types   []EventType // empty: every type
	Active  bool        // else events wait
	Numbers bool        // payloads hold people's numbers
	GoneAt  time.Time   // when it answered 410 and was switched off for that; else zero

	Secret    []byte // sealed under ID; "whsec_…"
	OldSecret []byte // sealed; signs too until OldUntil
	OldUntil  time.Time

	// Cursor is the place of the last event that has been looked at: each before it
	// has a delivery, or is of a type that is not asked for.
	Cursor int64

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Wants tells whether the endpoint is told of events of the type.
func (w Webhook) Wants(t EventType) bool { return len(w.Types) == 0 || slices.Contains(w.Types, t) }

// Check refuses an endpoint that no tenant may have.
func (w Webhook) Check() error {
	u, err := url.Parse(w.URL)
	switch {
	case len(w.URL) > MaxWebhookURL:
		return invalid(CodeInvalidField, "url", "url must be at most 2048 bytes")
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "":
		return invalid(CodeInvalidField, "url", "url must be an http or https address")
	case u.User != nil || u.Fragment != "":
		return invalid(CodeInvalidField, "url", "url must hold no user, password or fragment")
	}
	for i, t := range w.Types {
		if !slices.Contains(EventTypes(), t) {
			return invalid(CodeInvalidField, "event_types", "event_types must be types of events; see the documentation")
		}
		if slices.Contains(w.Types[:i], t) {
			return invalid(CodeInvalidField, "event_types", "event_types names a type twice")
		}
	}
	return nil
}

// ErrTooManyWebhooks refuses an endpoint beyond the limit.
func ErrTooManyWebhooks() *Error {
	return &Error{Kind: Conflict, Code: CodeTooManyWebhooks, Message: "a tenant has at most 10 webhooks"}
}

// EventTypes are the types of events that an endpoint can ask for.
func EventTypes() []EventType {
	var types []EventType
	for _, product := range []Product{GreenVN, GreenPin} {
		for _, t := range []EventType{EventCreated, EventUpdated, EventDeallocated} {
			types = append(types, t.of(product))
		}
	}
	return append(types, EventCallRinging, EventCallAnswered, EventCallCompleted, EventCallRejected,
		EventRecordingReady, EventRecordingFailed, EventGuardTripped, EventNumberDegraded)
}

// of names the type of an allocation's event by the API that made the allocation.
func (t EventType) of(p Product) EventType {
	return EventType(strings.Replace(string(t), string(GreenVN), string(p), 1))
}

// EventWebhookTest is the type of a test delivery. It tells of no change.
const EventWebhookTest EventType = "webhook.test"

// DeliveryStatus is where a delivery stands.
type DeliveryStatus string

// The statuses of a delivery.
const (
	DeliveryQueued    DeliveryStatus = "queued"    // behind an earlier event of the same allocation
	DeliveryPending   DeliveryStatus = "pending"   // is sent when it is due
	DeliveryDelivered DeliveryStatus = "delivered" // answered 2xx
	DeliveryDead      DeliveryStatus = "dead"      // given up; can be replayed
)

// DeliveryStatuses are all of them.
func DeliveryStatuses() []DeliveryStatus {
	return []DeliveryStatus{DeliveryQueued, DeliveryPending, DeliveryDelivered, DeliveryDead}
}

// Delivery is one event on its way to one endpoint. An endpoint has at most one of
// an event: a replay sends it again, with the same webhook-id.
type Delivery struct {
	Webhook    WebhookID
	Cursor     int64 // the event's place
	Event      Event
	Status     DeliveryStatus
	Due        time.Time         // of DeliveryPending: when it is sent
	Tries      int               // attempts since it was first, or last, asked for
	FinishedAt time.Time         // when it was delivered or given up; zero before
	Attempts   []DeliveryAttempt // the last MostAttempts of them, oldest first
}

// MostAttempts is how many attempts of one delivery are kept.
const MostAttempts = 20

// DeliveryOutcome is what an attempt came to.
type DeliveryOutcome string

// The outcomes of an attempt.
const (
	OutcomeDelivered   DeliveryOutcome = "delivered"   // 2xx in time
	OutcomeStatus      DeliveryOutcome = "status"      // another status
	OutcomeRedirect    DeliveryOutcome = "redirect"    // 3xx, which is not followed
	OutcomeGone        DeliveryOutcome = "gone"        // 410: the endpoint is switched off
	OutcomeTimeout     DeliveryOutcome = "timeout"     // no status in time
	OutcomeClosed      DeliveryOutcome = "closed"      // the connection ended without a status
	OutcomeUnreachable DeliveryOutcome = "unreachable" // no connection: name, route, port, TLS
	OutcomeForbidden   DeliveryOutcome = "forbidden"   // not a public address
	OutcomeInternal    DeliveryOutcome = "internal"    // a fault of ours: nothing was sent
)

// DeliveryOutcomes are all of them.
func DeliveryOutcomes() []DeliveryOutcome {
	return []DeliveryOutcome{OutcomeDelivered, OutcomeStatus, OutcomeRedirect, OutcomeGone, OutcomeTimeout, OutcomeClosed,
		OutcomeUnreachable, OutcomeForbidden, OutcomeInternal}
}

// DeliveryAttempt is one request to an endpoint and what came of it.
type DeliveryAttempt struct {
	At       time.Time
	Took     time.Duration
	Outcome  DeliveryOutcome
	Status   int    // HTTP; 0 if none came
	Response string // the beginning of the body, numbers hidden
}

// RetryWaits are the times between the attempts of a delivery. When the
// last has passed and failed, it is dead.
func RetryWaits() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour}
}

// RetryJitter is by what part a wait is shorter or longer than it is written.
const RetryJitter = 0.15

// After is the delivery after an attempt that ended now. The wait before the next
// one is that of waits, longer by the part jitter (-RetryJitter to RetryJitter), so
// that what failed together does not come back together.
func (d Delivery) After(a DeliveryAttempt, waits []time.Duration, jitter float64, now time.Time) Delivery {
	d.Tries++
	d.Attempts = append(slices.Clone(d.Attempts), a)
	d.Attempts = d.Attempts[max(0, len(d.Attempts)-MostAttempts):]
	switch {
	case a.Outcome == OutcomeDelivered:
		d.Status, d.FinishedAt = DeliveryDelivered, now
	case d.Tries > len(waits):
		d.Status, d.FinishedAt = DeliveryDead, now
	default:
		wait := waits[d.Tries-1]
		d.Due = now.Add(wait + time.Duration(jitter*float64(wait)))
	}
	return d
}

// Chain is what keeps events in order: those of one allocation, or of one call
// where no allocation is concerned. An event of neither is in a chain of its own.
func (e Event) Chain() string {
	switch {
	case e.Allocation != "":
		return string(e.Allocation)
	case e.Call != "":
		return string(e.Call)
	}
	return string(e.ID)
}
