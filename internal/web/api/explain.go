package api

import (
	"context"
	"net/http"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// ExplainBody is a call that might come.
type ExplainBody struct {
	Caller        string  `json:"caller,omitempty" doc:"who calls; left out or empty: he withholds his number" example:"+919900000001"`
	VirtualNumber string  `json:"virtual_number" doc:"the number he calls" example:"+914000000001"`
	PIN           *string `json:"pin,omitempty" minLength:"4" maxLength:"8" doc:"what he enters if he is asked; it is judged, and not counted if it is wrong"`
}

// ExplainInput is the request of an explanation.
type ExplainInput struct {
	TenantPath
	Body document[ExplainBody]
}

// RouteExplanation is what would become of a call now, and why.
type RouteExplanation struct {
	Outcome          masking.Outcome      `json:"outcome" enum:"ring,ask_pin,ask_server,refuse"`
	Rule             masking.RoutingRule  `json:"rule" enum:"no_number,allocation,pin,strangers,limit,not_allowed" doc:"what decides"`
	Reason           masking.Refusal      `json:"reason,omitempty" doc:"why no allocation lets the caller through, as the record of the call would have it"`
	Explanation      string               `json:"explanation" doc:"the same in words, for people"`
	GreenVNID        masking.AllocationID `json:"greenvn_id,omitempty" doc:"the allocation whose call it would be, or which is the reason that it is not"`
	GreenPinID       masking.AllocationID `json:"greenpin_id,omitempty" doc:"the same, of a GreenPin allocation"`
	Direction        masking.Direction    `json:"direction,omitempty" enum:"from_to,to_from"`
	Targets          []string             `json:"targets,omitempty" doc:"whom it would ring, in this order"`
	RingStrategy     masking.RingStrategy `json:"ring_strategy,omitempty" enum:"sequential,simultaneous,round_robin,sticky_last"`
	RingSeconds      int64                `json:"ring_seconds,omitempty" doc:"how long each number rings"`
	RingTotalSeconds int64                `json:"ring_total_seconds,omitempty" doc:"how long the caller hears ringing in all"`
	Trunks           []RouteTrunk         `json:"trunks,omitempty" doc:"over what each number would be rung, in the order to try; once for each address of a trunk"`
	Heard            *RouteHeard          `json:"heard,omitempty" doc:"what a caller hears who is not connected"`
}

// RouteTrunk is one way to ring a number.
type RouteTrunk struct {
	Trunk    string           `json:"trunk"`
	State    masking.WayState `json:"state" enum:"open,down,closed,full"`
	Tried    bool             `json:"tried" doc:"a call would go there if those before it do not take it"`
	Priority int64            `json:"priority" doc:"lower is tried first"`
	Weight   int64            `json:"weight" doc:"among equals each call draws the order by it; here they stand by name"`
}

// RouteHeard is what a caller hears who is not connected.
type RouteHeard struct {
	Announcement string `json:"announcement,omitempty" doc:"the name of what is said or of the tone; left out: no words"`
	SIPStatus    int64  `json:"sip_status,omitempty" doc:"that ends his INVITE; left out where he was answered to be asked for a PIN"`
}

// routeRoutes declares the operations on routing.
func (r *router) routeRoutes() {
	op := tenantOp("POST", "/routes/explain", "routes-explain", "Explain what would become of a call now; rings nobody and counts nothing")
	op.DefaultStatus = http.StatusOK
	operation[ExplainInput, RouteExplanation](r, op, r.explainRoute)
}

func (s *server) explainRoute(ctx context.Context, in *ExplainInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	var q control.RouteQuery
	if body.Caller != "" {
		if q.Caller, err = control.ParseNumber("caller", body.Caller); err != nil {
			return control.Answer{}, err
		}
	}
	if q.VirtualNumber, err = control.ParseNumber("virtual_number", body.VirtualNumber); err != nil {
		return control.Answer{}, err
	}
	if body.PIN != nil {
		pin, ok := masking.ParsePIN(*body.PIN)
		if !ok {
			return control.Answer{}, invalidField("pin", "pin must be 4 to 8 digits")
		}
		q.PIN = pin
	}
	e, err := s.Plane.Routes.Explain(ctx, exchangeOf(ctx).tenant.ID, q)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, routeExplanation(e)), nil
}

func routeExplanation(e masking.Explanation) RouteExplanation {
	v := RouteExplanation{Outcome: e.Outcome(), Rule: e.Rule(), Reason: e.Reason, Explanation: explainWords(e)}
	p := e.Ruling.Plan
	v.GreenVNID, v.GreenPinID = apart(p.Allocation.ID)
	if e.Blamed != "" {
		v.GreenVNID, v.GreenPinID = apart(e.Blamed)
	}
	if e.Heard != (masking.Heard{}) {
		v.Heard = &RouteHeard{Announcement: e.Heard.Sound, SIPStatus: int64(e.Heard.Status)}
	}
	if v.Outcome != masking.OutcomeRing {
		return v
	}
	v.Direction, v.Targets = p.Direction, masking.Texts(p.Targets)
	v.RingStrategy = p.Tenant.Settings.Ring
	v.RingSeconds, v.RingTotalSeconds = int64(p.RingEach/time.Second), int64(p.RingTotal/time.Second)
	for _, w := range e.Ways {
		v.Trunks = append(v.Trunks, RouteTrunk{Trunk: w.Trunk, State: w.State, Tried: w.Tried, Priority: int64(w.Priority), Weight: int64(w.Weight)})
	}
	return v
}
