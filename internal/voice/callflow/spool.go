package callflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// This file is how an entry is written into the spool. Numbers stand there in full,
// since they are what is to be written to the store; so a spool seals what it is given.

// spooledEntry is an entry as text. The fields of the embedded values that it names
// itself hide theirs: a Number hides from encoders.
type spooledEntry struct {
	Moment  masking.Moment  `json:"moment"`
	Event   masking.EventID `json:"event"`
	At      time.Time       `json:"at"`
	Call    spooledCall     `json:"call"`
	Zone    string          `json:"zone,omitempty"`
	State   []byte          `json:"state,omitempty"` // sealed
	Ladder  []byte          `json:"ladder,omitempty"`
	Refusal *spooledRefusal `json:"refusal,omitempty"`
}

type spooledCall struct {
	masking.Call
	VirtualNumber, Caller, Callee string
	Attempts                      []spooledAttempt
}

type spooledAttempt struct {
	masking.Attempt
	Target string
}

// spooledRefusal has of the plan what is written of it.
type spooledRefusal struct {
	masking.Ask
	Called, Caller string
	Allocation     masking.AllocationID
	CustomField    string
	Why            masking.Refusal
	At             time.Time
}

// encode gives the entry as the spool has it. What was to be taken from elsewhere (its
// state, its ladder) has been.
func (e entry) encode() []byte {
	c := e.call
	s := spooledEntry{Moment: e.moment, Event: e.event, At: e.at, Ladder: e.ladder,
		Call: spooledCall{Call: c, VirtualNumber: c.VirtualNumber.E164(), Caller: c.Caller.E164(), Callee: c.Callee.E164()}}
	for _, a := range c.Attempts {
		s.Call.Attempts = append(s.Call.Attempts, spooledAttempt{a, a.Target.E164()})
	}
	if e.zone != nil {
		s.Zone = e.zone.String()
	}
	if e.state != nil {
		s.State = e.state.sealed
	}
	if r := e.refusal; r != nil {
		s.Refusal = &spooledRefusal{Ask: r.ask, Called: r.ask.Called.E164(), Caller: r.ask.Caller.E164(),
			Allocation: r.plan.Allocation.ID, CustomField: r.plan.Allocation.CustomField, Why: r.why, At: r.at}
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("an entry of the journal cannot be encoded: %v", err)) // strings, numbers and times always can
	}
	return b
}

var errSpool = errors.New("it is of another key, or damaged")

// decode reads what encode gave.
func decode(record []byte) (e entry, err error) {
	var s spooledEntry
	if record == nil || json.Unmarshal(record, &s) != nil {
		return e, errSpool
	}
	number := func(text string) (n e164.Number) {
		if text != "" && err == nil {
			n, err = e164.ParseStored(text)
		}
		return n
	}
	e = entry{moment: s.Moment, event: s.Event, at: s.At, call: s.Call.Call, ladder: s.Ladder}
	e.call.VirtualNumber, e.call.Caller, e.call.Callee = number(s.Call.VirtualNumber), number(s.Call.Caller), number(s.Call.Callee)
	for _, a := range s.Call.Attempts {
		a.Attempt.Target = number(a.Target)
		e.call.Attempts = append(e.call.Attempts, a.Attempt)
	}
	if s.State != nil {
		e.state = &keptState{sealed: s.State}
	}
	if r := s.Refusal; r != nil {
		e.refusal = &refusal{ask: r.Ask, why: r.Why, at: r.At,
			plan: masking.Plan{Allocation: masking.Allocation{ID: r.Allocation, CustomField: r.CustomField}}}
		e.refusal.ask.Called, e.refusal.ask.Caller = number(r.Called), number(r.Caller)
	}
	if s.Zone != "" && err == nil {
		e.zone, err = time.LoadLocation(s.Zone)
	}
	return e, err
}
