package masking

import (
	"time"

	"tandem/internal/e164"
)

// Cause says how a call ended: a closed list, told in records and metrics.
type Cause string

// The causes of a call's end.
const (
	CauseCallerHungUp    Cause = "caller_hung_up"   // BYE of the caller after answer
	CauseCalleeHungUp    Cause = "callee_hung_up"   // BYE of the callee after answer
	CauseCallerCancelled Cause = "caller_cancelled" // the caller gave up before answer
	CauseNoAnswer        Cause = "no_answer"
	CauseBusy            Cause = "busy"
	CauseDeclined        Cause = "declined"
	CauseUnreachable     Cause = "unreachable"     // unknown, out of order, not available
	CauseFailed          Cause = "failed"          // the network failed
	CauseNoMedia         Cause = "no_common_media" // the descriptions have nothing in common
	CauseMediaTimeout    Cause = "media_timeout"
	CauseSessionExpired  Cause = "session_expired"  // a side has not refreshed its session (RFC 4028)
	CauseAllocationEnded Cause = "allocation_ended" // the allocation ended while it rang
	CauseShutdown        Cause = "shutdown"         // the drain deadline passed
	CauseNodeLost        Cause = "node_lost"        // the node that carried it died
	CauseLeakBlocked     Cause = "leak_blocked"     // the tripwire stopped a message
	CauseRejected        Cause = "rejected"         // never routed; see Refusal
	CauseJoined          Cause = "joined"           // the callee was calling too: his call and this one became one
	CauseMaxTime         Cause = "max_call_time"    // the talk lasted as long as its tenant lets one

	// Of an attempt alone: another number that rang at the same time was quicker.
	CauseElsewhere Cause = "answered_elsewhere"
)

// Call is the record of one incoming call, from its INVITE to its end.
type Call struct {
	ID            CallID
	Tenant        TenantID
	Allocation    AllocationID // "" when none matched
	VirtualNumber e164.Number
	Caller        e164.Number // zero when withheld or unreadable
	Callee        e164.Number // who was rung last, or answered
	Direction     Direction
	CustomField   string
	Node          string // which node carries it
	StartedAt     time.Time
	Day           Day           // of StartedAt: where its allocation's use of a day is counted; zero = nowhere. Not read back
	AnsweredAt    time.Time     // zero if never answered
	EndedAt       time.Time     // zero while it is up
	RingTime      time.Duration // INVITE to answer or end, by the monotonic clock
	TalkTime      time.Duration // answer to end, by the monotonic clock
	Cause         Cause
	Refusal       Refusal // with CauseRejected
	Recorded      bool    // a recording of it was begun
	LastKnown     bool    // it was routed by what was last known, while the database was away
	Attempts      []Attempt
	Ladder        []byte  // its SIP messages, as package ladder has them; nil in lists
	Quality       Quality // of the media, known at the end of a call that was answered
}

// TalkTimeUntil is how long c has talked at a moment by the wall clock, for one of
// which no other clock is left.
func (c Call) TalkTimeUntil(at time.Time) time.Duration {
	if c.AnsweredAt.IsZero() {
		return 0
	}
	return max(0, at.Sub(c.AnsweredAt))
}

// Moment is a step in a call's life that is written down.
type Moment int

// The moments of a call, in order; Rang and Answered may be missing.
const (
	Began   Moment = iota
	Matched        // a PIN said whose call it is, which had begun as nobody's
	Rang
	Answered
	Taped // the recording begins, later than the answer: both sides had to hear of it first
	Ended
)

// Attempt is one try to ring one number over one trunk.
type Attempt struct {
	Target   e164.Number
	Trunk    string
	Rang     bool
	Answered bool
	Status   int // the final SIP status, 0 if none came
	Cause    Cause
	Ring     time.Duration // from our INVITE to its end
}

// CallType is the published word for how far a call came.
type CallType string

// The published call types.
const (
	CallCompleted    CallType = "completed"
	CallIncomplete   CallType = "incomplete"
	CallClientHangup CallType = "client-hangup"
	CallAttempt      CallType = "call-attempt"
)

// DialStatus is the published word for what became of the callee's leg.
type DialStatus string

// The published dial statuses.
const (
	DialCompleted DialStatus = "completed"
	DialBusy      DialStatus = "busy"
	DialNoAnswer  DialStatus = "no-answer"
	DialFailed    DialStatus = "failed"
	DialCanceled  DialStatus = "canceled"
)

// Type tells how far the call came.
func (c Call) Type() CallType {
	switch {
	case c.EndedAt.IsZero() || c.Cause == CauseRejected:
		return CallAttempt
	case !c.AnsweredAt.IsZero():
		return CallCompleted
	case c.Cause == CauseCallerCancelled:
		return CallClientHangup
	}
	return CallIncomplete
}

// DialStatus tells what became of the callee's leg; "" while it is undecided.
func (c Call) DialStatus() DialStatus {
	switch {
	case !c.AnsweredAt.IsZero():
		return DialCompleted
	case c.EndedAt.IsZero():
		return ""
	}
	switch c.Cause {
	case CauseBusy:
		return DialBusy
	case CauseNoAnswer:
		return DialNoAnswer
	case CauseCallerCancelled, CauseAllocationEnded, CauseShutdown, CauseJoined:
		return DialCanceled
	case CauseRejected:
		if c.Refusal == RefusedCallerBusy {
			return DialBusy
		}
	}
	return DialFailed
}

// CauseOfAttempts is what a caller is told when a hunt ends without an answer:
// the most telling of what the numbers said. Busy tells more than no answer,
// which tells more than a failure of the network.
func CauseOfAttempts(attempts []Attempt) Cause {
	best, rank := CauseUnreachable, 0
	for _, a := range attempts {
		if r := telling(a.Cause); r > rank {
			best, rank = a.Cause, r
		}
	}
	return best
}

func telling(c Cause) int {
	switch c {
	case CauseBusy:
		return 5
	case CauseDeclined:
		return 4
	case CauseNoAnswer:
		return 3
	case CauseUnreachable, CauseNoMedia:
		return 2
	case CauseFailed:
		return 1
	}
	return 0
}
