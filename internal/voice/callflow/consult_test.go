package callflow

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// consults routes a stranger to a number whose tenant's server decides.
func (d *desk) consults(caller e164.Number) (masking.Ask, masking.Ruling) {
	d.t.Helper()
	d.police(virtual, masking.StrangerPolicy{Action: masking.AskWebhook, URL: askAt})
	ask := d.ask(virtual, caller)
	r, release, err := d.Route(d.t.Context(), ask)
	if err != nil || r.Then != masking.AskWebhook {
		d.t.Fatal(r.Then, err)
	}
	release()
	return ask, r
}

func TestATenantsServerDecidesOnAStranger(t *testing.T) {
	d := newDesk(t)
	for _, c := range []struct {
		name   string
		answer masking.Answer
		fault  error
		want   []e164.Number
		then   masking.StrangerAction
	}{
		{"announce", masking.Answer{Action: masking.Announce}, nil, nil, masking.Announce},
		{"PIN", masking.Answer{Action: masking.AskPIN}, nil, nil, masking.AskPIN},
		{"reject", masking.Answer{Action: masking.Reject}, nil, nil, masking.Reject},
		{"forward", masking.Answer{Action: masking.Forward, ForwardTo: support.E164()}, nil, []e164.Number{support}, ""},
		{"forward, spaced", masking.Answer{Action: masking.Forward, ForwardTo: "+91 98123-45615"}, nil, []e164.Number{support}, ""},
		{"forward to a party", masking.Answer{Action: masking.Forward, ForwardTo: bob.E164()}, nil, []e164.Number{bob}, ""},
		{"forward to nobody", masking.Answer{Action: masking.Forward}, nil, nil, masking.Announce},
		{"forward to garbage", masking.Answer{Action: masking.Forward, ForwardTo: "sip:x@y"}, nil, nil, masking.Announce},
		{"forward nationally", masking.Answer{Action: masking.Forward, ForwardTo: support.National()}, nil, nil, masking.Announce},
		{"forward to the police", masking.Answer{Action: masking.Forward, ForwardTo: "112"}, nil, nil, masking.Announce},
		{"the police, spelt out", masking.Answer{Action: masking.Forward, ForwardTo: "+91112"}, nil, nil, masking.Announce},
		{"the police, in zeros", masking.Answer{Action: masking.Forward, ForwardTo: "000"}, nil, nil, masking.Announce},
		{"forward to the number itself", masking.Answer{Action: masking.Forward, ForwardTo: virtual.E164()}, nil, nil, masking.Announce},
		{"forward to another tenant's number", masking.Answer{Action: masking.Forward, ForwardTo: nobodys.E164()}, nil, nil, masking.Announce},
		{"forward to the caller", masking.Answer{Action: masking.Forward, ForwardTo: stranger.E164()}, nil, nil, masking.Announce},
		{"ask again", masking.Answer{Action: masking.AskWebhook}, nil, nil, masking.Announce},
		{"nothing", masking.Answer{}, nil, nil, masking.Announce},
		{"another word", masking.Answer{Action: "connect", ForwardTo: support.E164()}, nil, nil, masking.Announce},
		{"fault", masking.Answer{Action: masking.Forward, ForwardTo: support.E164()}, errors.New("502"), nil, masking.Announce},
		{"fault with a PIN", masking.Answer{Action: masking.AskPIN}, errors.New("not JSON"), nil, masking.Announce},
	} {
		t.Run(c.name, func(t *testing.T) {
			*d.server = tenantServer{answer: c.answer, fault: c.fault}
			warned := strings.Count(d.log.String(), `"level":"WARN"`)
			ask, before := d.consults(stranger)
			r := d.Consult(t.Context(), ask, before)
			if r.Then != c.then || !slices.Equal(r.Plan.Targets, c.want) || (r.Refusal == "") != (c.want != nil) {
				t.Errorf("gave %q, %q, %v", r.Refusal, r.Then, r.Plan.Targets)
			}
			if r.Refusal != "" && r.Refusal != masking.RefusedStranger {
				t.Errorf("refused as %q", r.Refusal)
			}
			if p := r.Plan; p.Tenant.ID != "acme" || p.VirtualNumber != virtual || p.Caller != stranger || p.Allocation.ID != "" ||
				c.want != nil && (p.RingEach != 20*time.Second || p.RingTotal != time.Minute) {
				t.Errorf("%+v", p)
			}
			want := masking.Question{Tenant: "acme", Call: ask.Call, VirtualNumber: virtual, Caller: stranger, Reason: masking.RefusedStranger, At: start}
			if !slices.Equal(d.server.asked, []masking.Question{want}) || !slices.Equal(d.server.at, []string{askAt}) {
				t.Errorf("asked %+v at %q", d.server.asked, d.server.at)
			}
			failed := c.fault != nil || c.answer.Action == masking.Forward && c.want == nil
			if told := strings.Count(d.log.String(), `"level":"WARN"`) - warned; failed != (told == 1) || told > 1 {
				t.Errorf("%d warnings", told)
			}
		})
	}
}

func TestAServerThatDoesNotAnswerLetsNobodyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.carry(virtual)
		d, j := newDirector(m)
		server := &tenantServer{hangs: true, answer: masking.Answer{Action: masking.AskPIN}}
		d.asker = server
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		ask := masking.Ask{Call: "call_1", Called: virtual, Caller: stranger}
		r := d.Consult(ctx, ask, masking.Ruling{Refusal: masking.RefusedExpired, Then: masking.AskWebhook})
		if r.Then != masking.Announce || r.Refusal != masking.RefusedExpired || time.Since(began) != 3*time.Second {
			t.Errorf("%+v after %v", r, time.Since(began))
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// Whether a number is virtual cannot be told: it is not dialled.
func TestNobodyIsForwardedWhileTheStoreIsAway(t *testing.T) {
	m := newMemory()
	m.carry(virtual)
	d, j := newDirector(m)
	d.asker = &tenantServer{answer: masking.Answer{Action: masking.Forward, ForwardTo: support.E164()}}
	ask, asked := masking.Ask{Call: "call_1", Called: virtual, Caller: stranger}, masking.Ruling{Refusal: masking.RefusedStranger, Then: masking.AskWebhook}
	m.set(func(m *memory) { m.away = true })
	if r := d.Consult(t.Context(), ask, asked); r.Then != masking.Announce || r.Refusal != masking.RefusedStranger || r.Plan.Targets != nil {
		t.Errorf("%+v", r)
	}
	m.set(func(m *memory) { m.away = false })
	if r := d.Consult(t.Context(), ask, asked); r.Refusal != "" || !slices.Equal(r.Plan.Targets, []e164.Number{support}) {
		t.Errorf("and back: %+v", r)
	}
	if err := j.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
