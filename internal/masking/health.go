package masking

import (
	"slices"
	"time"
)

// Health says whether far networks let calls through that show a virtual number.
type Health string

// The states of a number.
const (
	HealthOK       Health = "ok"
	HealthDegraded Health = "degraded"
)

// A Blame is how a far network refuses a call for the number that it shows.
type Blame string

// The refusals that speak of the number. 603 and 403 do only where nobody has rung:
// then no person has declined.
const (
	BlameForbidden Blame = "forbidden" // 403: the number may not be shown here
	BlameDeclined  Blame = "declined"  // 603: what networks answer that block callers
	BlameUnwanted  Blame = "unwanted"  // 607: whoever was rung reports the caller (RFC 8197)
	BlameBlocked   Blame = "blocked"   // 608: an analytics engine blocks the caller (RFC 8688)
)

// A ShownLeg is an attempt to ring somebody, as a trial of the number he was shown.
type ShownLeg struct {
	At    time.Time
	Blame Blame        // "" = the call got through to where he is
	Of    AllocationID // "" for a stranger who was sent on
}

// ShownLegs are the attempts of an ended call that say something of its virtual
// number: those that got through to a telephone, and those refused for the number.
// What a trunk or a missing callee does to an attempt says nothing.
func (c Call) ShownLegs() []ShownLeg {
	var legs []ShownLeg
	for _, a := range c.Attempts {
		blame, says := a.blame()
		if says {
			legs = append(legs, ShownLeg{At: c.EndedAt, Blame: blame, Of: c.Allocation})
		}
	}
	return legs
}

func (a Attempt) blame() (b Blame, says bool) {
	switch {
	case a.Status == 607:
		return BlameUnwanted, true
	case a.Status == 608:
		return BlameBlocked, true
	case a.Rang || a.Answered || a.Status == 486 || a.Status == 600:
		return "", true
	case a.Status == 403:
		return BlameForbidden, true
	case a.Status == 603:
		return BlameDeclined, true
	}
	return "", false
}

// A number is judged by its last legs of a day. It is degraded once so many were
// refused for it, not fewer than got through, in calls of several allocations: one
// person who declines everything says nothing of it. It is ok again once
// three of four get through, or a day after the last refusal.
const (
	healthLegs   = 20
	healthWindow = 24 * time.Hour
	leastRefused = 5
	leastPairs   = 3
)

// NumberHealth is what the last legs have shown of a number. The zero value is that of
// one that nothing speaks against.
type NumberHealth struct {
	Since  time.Time  // when it became degraded; zero while it is ok
	Reason Blame      // the most frequent one then
	Legs   []ShownLeg // as they came; none as long as none was refused
}

// Status is ok or degraded.
func (h NumberHealth) Status() Health {
	if h.Since.IsZero() {
		return HealthOK
	}
	return HealthDegraded
}

// Refused counts the legs that were refused for the number.
func (h NumberHealth) Refused() (n int) {
	for _, l := range h.Legs {
		if l.Blame != "" {
			n++
		}
	}
	return n
}

// After is the health once these legs have come, in order; turned tells that the
// number became degraded by one of them.
func (h NumberHealth) After(legs []ShownLeg) (next NumberHealth, turned bool) {
	for _, l := range legs {
		h = h.At(l.At)
		if l.Blame == "" && len(h.Legs) == 0 {
			continue
		}
		h.Legs = append(h.Legs, l) // At has made the slice its own
		h.Legs = h.Legs[max(0, len(h.Legs)-healthLegs):]
		was := h.Status()
		h = h.judged(l.At)
		turned = turned || (was == HealthOK && h.Status() == HealthDegraded)
	}
	return h, turned
}

// At is the health at a time: what was a day before counts no more.
func (h NumberHealth) At(now time.Time) NumberHealth {
	kept := make([]ShownLeg, 0, len(h.Legs)+1)
	for _, l := range h.Legs {
		if now.Sub(l.At) < healthWindow {
			kept = append(kept, l)
		}
	}
	h.Legs = kept
	if h.Status() == HealthOK && h.Refused() > 0 { // only a leg can degrade it
		return h
	}
	return h.judged(now)
}

// judged applies the rule.
func (h NumberHealth) judged(now time.Time) NumberHealth {
	refused := h.Refused()
	switch {
	case h.Status() == HealthDegraded && 4*refused <= len(h.Legs):
		h.Since, h.Reason = time.Time{}, ""
	case h.Status() == HealthOK && refused >= leastRefused && 2*refused >= len(h.Legs) && h.pairs() >= leastPairs:
		h.Since, h.Reason = now, h.mostly()
	}
	if refused == 0 {
		h.Legs = nil
	}
	return h
}

// pairs counts the allocations whose legs were refused.
func (h NumberHealth) pairs() int {
	of := map[AllocationID]bool{}
	for _, l := range h.Legs {
		if l.Blame != "" {
			of[l.Of] = true
		}
	}
	return len(of)
}

// mostly is the most frequent blame; of two, the later one.
func (h NumberHealth) mostly() (most Blame) {
	count := map[Blame]int{}
	for _, l := range slices.Backward(h.Legs) {
		if l.Blame != "" {
			count[l.Blame]++
		}
		if l.Blame != "" && count[l.Blame] > count[most] {
			most = l.Blame
		}
	}
	return most
}

// DegradedEvent tells that a call made its virtual number degraded. It is about the
// number: it names neither the call nor whose it was.
func DegradedEvent(id EventID, c Call, h NumberHealth, zone *time.Location, now time.Time) Event {
	data := degradedData{VirtualNumber: c.VirtualNumber.E164(), Reason: h.Reason, Since: Stamp(h.Since, zone), Legs: len(h.Legs),
		Refused: h.Refused(), CurrentTime: Stamp(now, zone)}
	return Event{ID: id, Type: EventNumberDegraded, Tenant: c.Tenant, At: now, Data: mustJSON(data)}
}

type degradedData struct {
	VirtualNumber string `json:"virtual_number"`
	Reason        Blame  `json:"reason"`
	Since         string `json:"since"`
	Legs          int    `json:"legs"`    // that were judged
	Refused       int    `json:"refused"` // of them
	CurrentTime   string `json:"current_time"`
}
