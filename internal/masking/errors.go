package masking

import (
	"errors"
	"time"
)

// A Kind says what the caller can do about a refusal. The edges map it once:
// web/api/problem.go to an HTTP status, voice/sipua/cause.go to a SIP one.
type Kind string

// The kinds of refusal.
const (
	Invalid     Kind = "invalid"     // can never succeed as written
	NotFound    Kind = "not_found"   // no such thing, or not yours
	Conflict    Kind = "conflict"    // breaks a rule that holds now
	Exhausted   Kind = "exhausted"   // the pool has no usable number left
	Gone        Kind = "gone"        // was there once, and never will be again
	Unavailable Kind = "unavailable" // Tandem cannot now; the same again later may succeed
)

// A Code names one refusal. The list is closed and documented: an application
// may branch on it (docs/compatibility.md).
type Code string

// The codes of the error envelope.
const (
	CodeInvalidBody            Code = "invalid_body"
	CodeInvalidField           Code = "invalid_field"
	CodeMissingField           Code = "missing_field"
	CodeInvalidNumber          Code = "invalid_number"
	CodeEmergencyNumber        Code = "emergency_number"
	CodePartyIsVirtual         Code = "party_is_virtual_number"
	CodeNumberNotAllowed       Code = "number_not_allowed"
	CodeSamePartyOnBothSides   Code = "same_party_on_both_sides"
	CodeDurationTooLong        Code = "duration_too_long"
	CodeNotInPool              Code = "virtual_number_not_in_pool"
	CodeVirtualNumberInUse     Code = "virtual_number_in_use"
	CodePartyInUse             Code = "party_in_use"
	CodeNoNumberAvailable      Code = "no_number_available"
	CodeAllocationNotActive    Code = "allocation_not_active"
	CodeNoPINAvailable         Code = "no_pin_available"
	CodeInvalidAudio           Code = "invalid_audio"
	CodeRecordingHeld          Code = "recording_held"
	CodeRecordingNotReady      Code = "recording_not_ready"
	CodeNumberInUse            Code = "number_in_use"
	CodeIdempotencyKeyReused   Code = "idempotency_key_reused"
	CodeNotFound               Code = "not_found"
	CodeEventsGone             Code = "events_gone"
	CodeAlreadyExists          Code = "already_exists"
	CodeStillInUse             Code = "still_in_use"
	CodeTooManyWebhooks        Code = "too_many_webhooks"
	CodeTemporarilyUnavailable Code = "temporarily_unavailable"
)

// Error is a refusal by a rule. Message is for people: it names the rule and
// the limit, never a party's number and never an internal cause.
type Error struct {
	Kind       Kind
	Code       Code
	Message    string
	Field      string    // the one field to blame, or ""
	RetryAfter time.Time // for Exhausted and Unavailable: when it may succeed; zero if unknown
	BlockedBy  []string  // identifiers of what stands in the way, if that is more than one thing could be
}

// Error gives the code and the message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// KindOf tells the kind of err, "" when no rule refused it.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func invalid(code Code, field, message string) *Error {
	return &Error{Kind: Invalid, Code: code, Field: field, Message: message}
}

// ErrNotFound is the one answer for what does not exist and for what belongs
// to somebody else: it tells a prober nothing.
func ErrNotFound() *Error {
	return &Error{Kind: NotFound, Code: CodeNotFound, Message: "no such resource"}
}

// ErrEventsGone refuses to go on behind an event of so long ago that later ones have
// been removed: whoever has read to there has missed some.
func ErrEventsGone() *Error {
	return &Error{Kind: Gone, Code: CodeEventsGone, Field: "cursor",
		Message: "events after this place are kept no longer: some have been missed; begin anew without a cursor"}
}

// ErrUnavailable says that Tandem cannot do this now; internal causes stay in the log.
func ErrUnavailable() *Error {
	return &Error{Kind: Unavailable, Code: CodeTemporarilyUnavailable, Message: "temporarily unavailable; try again"}
}
