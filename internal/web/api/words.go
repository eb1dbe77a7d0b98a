package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// This file says in words why a call goes, or went, where it does. What it says
// comes from the decision or the record alone; a program reads their fields.

// numberWords is how a number stands in the words: in full for its tenant, hidden
// for the operator.
type numberWords func(e164.Number) string

// sentences are what is said.
type sentences []string

// say adds one: with a capital, and a full stop.
func (s *sentences) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	*s = append(*s, strings.ToUpper(text[:1])+text[1:]+".")
}

func (s sentences) String() string { return strings.Join(s, " ") }

// refusalWords say what a reason means; see docs/troubleshooting.md.
func refusalWords(why masking.Refusal) string {
	switch why {
	case masking.RefusedUnknownNumber:
		return "the number is not in your pool"
	case masking.RefusedWithheld:
		return "the caller withholds his number"
	case masking.RefusedStranger:
		return "no active allocation names this caller on this number"
	case masking.RefusedExpired:
		return "the allocation that named this caller is over"
	case masking.RefusedWrongDirection:
		return "the caller stands in to of a oneway allocation, and only from may call"
	case masking.RefusedCallerBusy:
		return "the caller has a call up already"
	case masking.RefusedCallerRate:
		return "the caller has called as often in a minute as the tenant's settings let him"
	case masking.RefusedAllocationLimit:
		return "as many calls are up through the allocation as the tenant's settings let be"
	case masking.RefusedTenantLimit:
		return "as many calls of the tenant are up as his settings let be"
	case masking.RefusedLoop:
		return "the call comes from the virtual number itself, or from a phone that forwards to it"
	case masking.RefusedUnavailable:
		return "Tandem could not tell at that moment, or was stopping"
	case masking.RefusedPIN:
		return "no right PIN was entered"
	case masking.RefusedPINLocked:
		return "the caller has no entries of PINs left"
	case masking.RefusedBlocked:
		return "the tenant lets nothing of this caller through"
	case masking.RefusedDestination:
		return "nobody whom the call would ring may be rung: see permitted_prefixes and allowed_prefixes"
	case masking.RefusedDayCalls:
		return "as many calls came through the allocation today as the tenant's settings let be"
	case masking.RefusedDayTalk:
		return "as long was talked through the allocation today as the tenant's settings let be"
	case masking.RefusedVelocity:
		return "calls come faster than the tenant's velocity_alarm lets them"
	}
	return "reason " + string(why)
}

// causeWords say how a call, or an attempt, ended.
func causeWords(c masking.Cause) string {
	switch c {
	case masking.CauseCallerHungUp:
		return "the caller hung up"
	case masking.CauseCalleeHungUp:
		return "the callee hung up"
	case masking.CauseCallerCancelled:
		return "the caller gave up before anybody answered"
	case masking.CauseNoAnswer:
		return "nobody answered"
	case masking.CauseBusy:
		return "busy"
	case masking.CauseDeclined:
		return "declined"
	case masking.CauseUnreachable:
		return "not reachable"
	case masking.CauseFailed:
		return "the network failed"
	case masking.CauseNoMedia:
		return "the sides have no codec in common"
	case masking.CauseMediaTimeout:
		return "no sound came any more"
	case masking.CauseSessionExpired:
		return "a side did not refresh its session"
	case masking.CauseAllocationEnded:
		return "the allocation ended"
	case masking.CauseShutdown:
		return "the server was stopped"
	case masking.CauseNodeLost:
		return "the server that carried it died"
	case masking.CauseLeakBlocked:
		return "a message would have shown a number, and was not sent"
	case masking.CauseRejected:
		return "it was rejected"
	case masking.CauseJoined:
		return "the two called each other, and this call became part of the other one"
	case masking.CauseMaxTime:
		return "it lasted as long as a talk may"
	case masking.CauseElsewhere:
		return "another number was quicker"
	}
	return "cause " + string(c)
}

// explainWords say what would become of a call.
func explainWords(e masking.Explanation) string {
	var s sentences
	p := e.Ruling.Plan
	switch e.Outcome() {
	case masking.OutcomeRing:
		s.say("%s", matchWords(p.Allocation.ID, p.Direction, e.PINJudged))
		s.say("%s", targetWords(p))
		s.say("%s", wayWords(e.Ways))
		return s.String()
	case masking.OutcomeAskPIN:
		s.say("%s", refusalWords(e.Reason))
		s.say("he is answered and asked for a PIN, since the number carries PINs or the policy for strangers says so")
	case masking.OutcomeAskServer:
		s.say("%s", refusalWords(e.Reason))
		s.say("the tenant's own server is asked what he gets; this explanation does not ask it")
	case masking.OutcomeRefuse:
		s.say("%s", refusalWords(e.Reason))
	}
	if e.Blamed != "" {
		s.say("that is %s", e.Blamed)
	}
	if heard := heardWords(e.Heard); heard != "" {
		s.say("%s", heard)
	}
	return s.String()
}

// heardWords are empty where nothing is said of it.
func heardWords(h masking.Heard) string {
	switch {
	case h.Sound != "" && h.Status != 0:
		return fmt.Sprintf("the caller hears %q, then SIP status %d", h.Sound, h.Status)
	case h.Sound != "":
		return fmt.Sprintf("the caller hears %q", h.Sound)
	case h.Status != 0:
		return fmt.Sprintf("the caller gets SIP status %d and no words", h.Status)
	}
	return ""
}

// matchWords say why a call rings anybody.
func matchWords(id masking.AllocationID, d masking.Direction, pin bool) string {
	side, other := "from", "to"
	if d == masking.ToCalls {
		side, other = other, side
	}
	switch {
	case id == "":
		return "no allocation lets the caller through, and the policy for strangers forwards him to a number of the tenant's own"
	case pin || (masking.Allocation{ID: id}).Product() == masking.GreenPin:
		return fmt.Sprintf("a PIN opens %s, and %s is rung", id, other)
	}
	return fmt.Sprintf("the caller stands in %s of %s, and %s is rung", side, id, other)
}

func targetWords(p masking.Plan) string {
	each, total := int64(p.RingEach/time.Second), int64(p.RingTotal/time.Second)
	switch {
	case len(p.Targets) == 0:
		return "nobody is named there yet, so nobody is rung and the caller hears that the other side cannot be reached"
	case len(p.Targets) == 1:
		return fmt.Sprintf("%s rings for %d s at most", p.Targets[0].E164(), min(each, total))
	case p.Together:
		return fmt.Sprintf("%s ring together, for %d s at most", strings.Join(masking.Texts(p.Targets), ", "), min(each, total))
	}
	return fmt.Sprintf("%s ring one after the other, %d s each and %d s in all", strings.Join(masking.Texts(p.Targets), ", "), each, total)
}

func wayWords(ways []masking.WayOut) string {
	var tried []string
	for _, w := range ways {
		if !w.Tried {
			continue
		}
		text := w.Trunk
		if w.State != masking.WayOpen {
			text += " (" + string(w.State) + ")"
		}
		if !slices.Contains(tried, text) {
			tried = append(tried, text)
		}
	}
	switch {
	case len(tried) > 0:
		return "tried over " + strings.Join(tried, ", then ")
	case len(ways) > 0:
		return "no trunk can be tried now, so nobody is rung"
	}
	return "no trunk may show the virtual number, so nobody is rung"
}

// callWords say why a call of the past went where it went.
func callWords(c masking.Call, show numberWords) string {
	var s sentences
	switch {
	case c.Cause == masking.CauseRejected:
		s.say("%s", refusalWords(c.Refusal))
	case c.Direction == "" && c.Allocation == "" && len(c.Attempts) == 0:
		s.say("no allocation let the caller through, and no PIN has yet")
	default:
		s.say("%s", matchWords(c.Allocation, c.Direction, false))
	}
	for _, a := range c.Attempts {
		s.say("%s", attemptWords(a, show))
	}
	switch {
	case c.EndedAt.IsZero():
		s.say("the call is up")
	case c.Cause == masking.CauseRejected:
	case !c.AnsweredAt.IsZero():
		s.say("they talked for %d s, until %s", int64(c.TalkTime/time.Second), causeWords(c.Cause))
	default:
		s.say("it ended without an answer: %s", causeWords(c.Cause))
	}
	return s.String()
}

func attemptWords(a masking.Attempt, show numberWords) string {
	if a.Trunk == "" {
		return fmt.Sprintf("%s was not rung: no trunk could carry it", show(a.Target))
	}
	var did []string
	if a.Rang {
		did = append(did, fmt.Sprintf("rang for %d s", int64(a.Ring/time.Second)))
	}
	switch {
	case a.Answered:
		did = append(did, "answered")
	case a.Status != 0:
		did = append(did, fmt.Sprintf("%s (SIP status %d)", causeWords(a.Cause), a.Status))
	case a.Cause == masking.CauseFailed && !a.Rang:
		did = append(did, "nothing came back")
	default:
		did = append(did, causeWords(a.Cause))
	}
	return fmt.Sprintf("%s over %s: %s", show(a.Target), a.Trunk, strings.Join(did, ", "))
}
