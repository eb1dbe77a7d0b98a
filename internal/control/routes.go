package control

import (
	"context"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// Routing is what the voice plane would do with a call.
type Routing interface {
	// Explain says what would become of a call to a number of the tenant's if it
	// came now. It rings nobody and counts nothing. Of a number that is another
	// tenant's it says what it says of one in nobody's pool. pin is what the caller
	// enters if he is asked; "" is nothing. An error means that it cannot tell now.
	Explain(ctx context.Context, tenant masking.TenantID, a masking.Ask, pin masking.PIN) (masking.Explanation, error)
}

// Routes explain where calls go.
type Routes struct {
	*core
	routing Routing
}

// RouteQuery is a call that might come.
type RouteQuery struct {
	Caller        e164.Number // zero: withheld
	VirtualNumber e164.Number
	PIN           masking.PIN // "" = none is entered
}

// Explain says what would become of a call.
func (r *Routes) Explain(ctx context.Context, t masking.TenantID, q RouteQuery) (masking.Explanation, error) {
	if r.routing == nil {
		return masking.Explanation{}, masking.ErrUnavailable()
	}
	e, err := r.routing.Explain(ctx, t, masking.Ask{Caller: q.Caller, Called: q.VirtualNumber, Received: r.now()}, q.PIN)
	return e, r.fail(ctx, "explain a route", err)
}
