package masking

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
)

// An Erasure is the removal of a person's number from what a tenant keeps, and
// the receipt of it. What it covers is what there was when it was asked for.
type Erasure struct {
	ID     ErasureID
	Tenant TenantID
	// Digest is keyed, of tenant and number: who asks whether a number was erased
	// is answered by it, and who has the database alone cannot go back to the number.
	Digest [32]byte
	Number []byte // sealed; nil once the work is done
	Part   ErasurePart
	Place  string // in Part, as the store gave it
	// Waiting is how many records could not be erased at the last look: of calls
	// that are up, recordings under way or under legal hold.
	Waiting    int
	Removed    Removed
	Blocked    bool // it is a blocked caller's, and stays on that list
	CreatedAt  time.Time
	DueAt      time.Time // when there is something to do again
	FinishedAt time.Time
}

// ErasedDigest is the digest of a tenant's number under a key, which tells erased numbers
// apart without telling them.
func ErasedDigest(key []byte, t TenantID, n e164.Number) (sum [32]byte) {
	m := hmac.New(sha256.New, key)
	_, _ = io.WriteString(m, "tandem: erased number\x00"+string(t)+"\x00"+n.E164())
	m.Sum(sum[:0])
	return sum
}

// People are the numbers of all who called or were rung, each once.
func (c Call) People() (list []e164.Number) {
	all := []e164.Number{c.Caller, c.Callee}
	for _, a := range c.Attempts {
		all = append(all, a.Target)
	}
	for _, n := range all {
		if !n.IsZero() && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

// Erased reports whether the number of somebody who called or was rung was erased.
func (c Call) Erased() bool { return slices.Contains(c.People(), e164.Erased()) }

// Erase gives the call without a number: e164.Erased stands in its place, and texts lose
// it. With the number of one who called or was rung the ladder goes.
func (c Call) Erase(n e164.Number) Call {
	if slices.Contains(c.People(), n) {
		c.Ladder = nil
	}
	instead := func(m e164.Number) e164.Number {
		if m == n {
			return e164.Erased()
		}
		return m
	}
	c.Caller, c.Callee, c.Attempts = instead(c.Caller), instead(c.Callee), slices.Clone(c.Attempts)
	for i := range c.Attempts {
		c.Attempts[i].Target = instead(c.Attempts[i].Target)
	}
	c.CustomField = n.EraseFrom(c.CustomField)
	return c
}

// Removed counts what an erasure has removed.
type Removed struct {
	Allocations int `json:"allocations"` // that name the number no more
	Calls       int `json:"calls"`
	Events      int `json:"events"`
	Ladders     int `json:"ladders"`    // of SIP messages, removed whole
	Recordings  int `json:"recordings"` // deleted with their sound
	PINTries    int `json:"pin_tries"`
	Answers     int `json:"answers"` // kept for repeated requests
}

// Plus adds counts.
func (r Removed) Plus(m Removed) Removed {
	return Removed{r.Allocations + m.Allocations, r.Calls + m.Calls, r.Events + m.Events, r.Ladders + m.Ladders,
		r.Recordings + m.Recordings, r.PINTries + m.PINTries, r.Answers + m.Answers}
}

// An ErasurePart is a step of an erasure. They are taken in order.
type ErasurePart string

// The parts.
const (
	EraseAllocations ErasurePart = "allocations"
	EraseCalls       ErasurePart = "calls"
	EraseEvents      ErasurePart = "events"
	EraseAnswers     ErasurePart = "answers" // and what is found by the number itself
	EraseFiles       ErasurePart = "files"   // sounds, and what files of the store still hold
)

// Next is the part after p; "" after the last.
func (p ErasurePart) Next() ErasurePart {
	switch p {
	case EraseAllocations:
		return EraseCalls
	case EraseCalls:
		return EraseEvents
	case EraseEvents:
		return EraseAnswers
	case EraseAnswers:
		return EraseFiles
	}
	return ""
}

// ErrNumberInUse refuses to erase a number while it stands in active allocations.
func ErrNumberInUse(allocations []string) *Error {
	return &Error{Kind: Conflict, Code: CodeNumberInUse, BlockedBy: allocations,
		Message: `the number stands in active allocations: end them, or send "force": true`}
}

// ErrNumberForwardedTo refuses to erase a number that strangers are sent on to: by the
// tenant's settings ("stranger_policy") or by those of virtual numbers. What callers
// get instead, only the tenant can say.
func ErrNumberForwardedTo(by []string) *Error {
	return &Error{Kind: Conflict, Code: CodeNumberInUse, BlockedBy: by,
		Message: "strangers are forwarded to the number: change the stranger_policy first"}
}

// ErrNumberHeld refuses to erase a number while recordings of its calls are under
// legal hold.
func ErrNumberHeld(calls []string) *Error {
	return &Error{Kind: Conflict, Code: CodeRecordingHeld, BlockedBy: calls,
		Message: "recordings of the number's calls are under legal hold"}
}

// EraseFromJSON puts "erased" where the number stands in a text of a JSON value.
// What is no JSON, or does not hold the number, is given back as it is.
func EraseFromJSON(data []byte, n e164.Number) []byte {
	if n.Digits() == "" || !bytes.Contains(data, []byte(n.Digits())) {
		return data
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return data
	}
	v, changed := eraseFromValue(v, n)
	if !changed {
		return data
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil { // what was decoded can be encoded
		return data
	}
	if !strings.HasSuffix(string(data), "\n") {
		b.Truncate(b.Len() - 1)
	}
	return b.Bytes()
}

func eraseFromValue(v any, n e164.Number) (any, bool) {
	changed := false
	part := func(in any) any {
		out, is := eraseFromValue(in, n)
		changed = changed || is
		return out
	}
	switch v := v.(type) {
	case string:
		out := n.EraseFrom(v)
		return out, out != v
	case []any:
		for i := range v {
			v[i] = part(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = part(v[key])
		}
	}
	return v, changed
}
