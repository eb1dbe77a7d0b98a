package masking

import (
	"errors"
	"net/url"
	"time"

	"tandem/internal/e164"
)

// StrangerAction is what a caller gets whom no allocation lets through.
type StrangerAction string

// The actions.
const (
	Announce   StrangerAction = "announce" // the same words whatever the reason; the default
	AskPIN     StrangerAction = "pin"      // ask for a PIN
	Forward    StrangerAction = "forward"  // ring a number of the tenant's own
	AskWebhook StrangerAction = "webhook"  // let the tenant's server decide
	Reject     StrangerAction = "reject"   // a SIP status and no words
)

// StrangerPolicy is an action and what it needs. The zero value of a virtual
// number's policy means the tenant's.
type StrangerPolicy struct {
	Action  StrangerAction
	Forward e164.Number // of Forward
	URL     string      // of AskWebhook
}

// Check refuses a policy that cannot be carried out.
func (p StrangerPolicy) Check() error {
	const field = "stranger_policy"
	switch p.Action {
	case "", Announce, AskPIN, Reject:
	case Forward:
		if p.Forward.IsZero() {
			return invalid(CodeInvalidField, field, `stranger_policy "forward" needs the number to ring in forward_to`)
		}
	case AskWebhook:
		u, err := url.Parse(p.URL)
		if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil || len(p.URL) > 2048 {
			return invalid(CodeInvalidField, field, `stranger_policy "webhook" needs an http or https address in webhook_url`)
		}
	default:
		return invalid(CodeInvalidField, field, `stranger_policy must be "announce", "pin", "forward", "webhook" or "reject"`)
	}
	return nil
}

// Treatment is what becomes of a caller whom no allocation lets through.
type Treatment struct {
	Action StrangerAction
	Why    Refusal        // for the record; nobody hears it
	Policy StrangerPolicy // with its number or address
}

// Treat decides what a caller gets whom Admit refused with why. A number that
// carries PINs asks for one, whoever calls and whatever the policy; a caller who
// hides his number is told nothing else (433).
func Treat(r Route, why Refusal) Treatment {
	p := r.Number.Strangers
	if p.Action == "" {
		p = r.Tenant.Settings.Strangers
	}
	t := Treatment{Action: p.Action, Why: why, Policy: p}
	switch why {
	case RefusedStranger, RefusedExpired, RefusedWrongDirection, RefusedWithheld:
	case RefusedBlocked, RefusedDestination: // who hears what others hear, and is let in by nothing else
		if t.Action != Reject {
			t.Action = Announce
		}
		return t
	default:
		t.Action = Reject
		return t
	}
	switch {
	case r.PINs:
		t.Action = AskPIN
	case why == RefusedWithheld && t.Action != AskPIN:
		t.Action = Reject
	}
	return t
}

// ForwardPlan rings the number of a policy for a stranger. No allocation has a
// part in it.
func (r Route) ForwardPlan(to, caller e164.Number) Plan {
	s := r.Tenant.Settings
	return Plan{Tenant: r.Tenant, VirtualNumber: r.Number.Number, Caller: caller, Targets: []e164.Number{to},
		RingEach: s.RingEach, RingTotal: s.RingTotal}
}

// Ruling is what is decided of a call.
type Ruling struct {
	Plan    Plan    // whom to ring; of a refused call only whose number it is and what is known
	Refusal Refusal // "" = ring
	// Then is what a refused caller gets: words (Announce), a question (AskPIN,
	// AskWebhook), or nothing (Reject).
	Then   StrangerAction
	Policy StrangerPolicy // with what AskWebhook needs
}

// Rule decides on a call of caller at now: Admit's plan, or what Treat gives whom
// Admit refuses.
func Rule(r Route, caller e164.Number, now time.Time) Ruling {
	plan, err := Admit(r, caller, now)
	if err == nil {
		return Ruling{Plan: plan}
	}
	var why Refusal
	if !errors.As(err, &why) {
		why = RefusedStranger
	}
	ruling := r.Refuse(Treat(r, why), caller)
	if plan.Allocation.ID != "" {
		ruling.Plan = plan
	}
	return ruling
}

// Refuse makes the ruling of a treatment. Somebody who calls from the very phone
// that strangers are forwarded to hears what others hear: his own number is never
// dialled. So does everybody if that phone may not be rung.
func (r Route) Refuse(t Treatment, caller e164.Number) Ruling {
	switch {
	case t.Action == Forward && t.Policy.Forward != caller && r.Tenant.Settings.Guards.Permits(t.Policy.Forward):
		return Ruling{Plan: r.ForwardPlan(t.Policy.Forward, caller)}
	case t.Action == Forward:
		t.Action = Announce
	}
	return Ruling{Plan: Plan{Tenant: r.Tenant, VirtualNumber: r.Number.Number, Caller: caller}, Refusal: t.Why, Then: t.Action, Policy: t.Policy}
}

// Question is what a tenant's own server is asked about a stranger.
type Question struct {
	Tenant        TenantID
	Call          CallID
	VirtualNumber e164.Number
	Caller        e164.Number // zero when withheld
	Reason        Refusal
	At            time.Time
}

// Answer is what it says: an action as in a policy, and for Forward a number, as
// it was written.
type Answer struct {
	Action    StrangerAction
	ForwardTo string
}
