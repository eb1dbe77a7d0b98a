package callflow

import (
	"context"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Explain says what would become of a call if it came now, through the decision
// that Route makes. It rings nobody, counts nothing, takes no place and asks no
// server; pin is entered if the caller would be asked for one, "" enters none. An
// error means that it cannot tell now, where a call would hear 503. Of a number
// that is another tenant's it says what it says of one in nobody's pool.
func (d *Director) Explain(ctx context.Context, tenant masking.TenantID, a masking.Ask, pin masking.PIN) (masking.Explanation, error) {
	route, r, _, err := d.decide(ctx, a, looking{d})
	if err != nil {
		return masking.Explanation{}, err
	}
	if route.Tenant.ID != tenant {
		route, r = masking.Route{}, unknown()
	}
	e := masking.Explanation{Ask: a, Ruling: r, Reason: r.Refusal}
	if len(route.Found) == 1 && r.Refusal == masking.RefusedExpired {
		e.Blamed = route.Found[0].ID
	}
	if r.Refusal == "" || r.Refusal == masking.RefusedUnknownNumber {
		return e, nil
	}
	e.PINAsked = r.Then == masking.AskPIN
	var v masking.PINVerdict
	err = d.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		why, silent, err := better(ctx, tx, route, a, r.Refusal, d.clock())
		if err != nil {
			return err
		}
		if e.Reason = why; silent != "" {
			e.Blamed = silent
		}
		if !e.PINAsked || pin == "" {
			return nil
		}
		v, err = judge(ctx, tx, a, pin, d.clock())
		e.PINJudged = err == nil
		return err
	})
	if err != nil || !e.PINJudged {
		return e, err
	}
	e.PINsLeft = min(v.Left, masking.TriesPerCall-1)
	e.Ruling, err = entered(ctx, a, v, looking{d})
	e.Reason = e.Ruling.Refusal
	return e, err
}

// looking are the bounds of an explanation: what counting would say.
type looking struct{ d *Director }

func (l looking) heard(who refusedCaller) bool { return fewEnough(l.d.heard.next(who, l.d.clock())) }

func (l looking) asked(who refusedCaller) int {
	times, _ := l.d.asked.next(who, l.d.clock())
	return times
}

func (l looking) rated(ctx context.Context, who caller, most int) (times int, err error) {
	if times, _ = l.d.rates.next(who, l.d.clock()); times > most {
		return times, nil
	}
	err = l.d.store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		times, err = tx.Pace(ctx, who.rate(most), callerWindow, l.d.clock())
		return err
	})
	return times + 1, err
}

func (l looking) holdCaller(_ context.Context, a masking.Ask, who caller) (release func(), ok bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if a.Caller.IsZero() {
		return func() {}, l.d.hiding[a.Called] < mostHiding
	}
	_, busy := l.d.busy[who]
	return func() {}, !busy
}

func (l looking) holdPlaces(_ context.Context, _ masking.Ask, plan masking.Plan) (release func(), why masking.Refusal, err error) {
	return func() {}, l.d.places.room(plan), nil
}

func (l looking) enter(_ context.Context, _ masking.Ask, plan masking.Plan) (masking.Refusal, error) {
	return l.d.places.roomThrough(plan), nil
}

func (l looking) count(ctx context.Context, a masking.Ask, plan masking.Plan) (masking.Plan, masking.Refusal, error) {
	return l.d.foresee(ctx, a, plan)
}
