package api

import (
	"context"
	"math"
	"net/http"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// PoolCapacity is how full a pool is, and when it runs out.
type PoolCapacity struct {
	Stock     []Stock           `json:"stock" doc:"the pool by sharing, region and type"`
	Exclusive ExclusiveCapacity `json:"exclusive"`
	Needed    *NumbersNeeded    `json:"needed,omitempty" doc:"only if sessions were asked for"`
}

// Stock is what numbers of one kind carry.
type Stock struct {
	Sharing           masking.Sharing `json:"sharing" enum:"exclusive,shared"`
	Region            string          `json:"region"`
	Type              string          `json:"type"`
	Numbers           int             `json:"numbers"`
	Busy              int             `json:"busy" doc:"with an active allocation; a shared one may take more"`
	Free              int             `json:"free"`
	ActiveAllocations int             `json:"active_allocations" doc:"about how many; an expired one counts until its end is written"`
	PINs              int             `json:"pins" doc:"live ones"`
}

// ExclusiveCapacity is what the exclusive numbers come to at today's rate.
type ExclusiveCapacity struct {
	Numbers           int     `json:"numbers"`
	Busy              int     `json:"busy"`
	AllocationsPerDay float64 `json:"allocations_per_day" doc:"made in the last 24 hours"`
	ExpectedBusy      float64 `json:"expected_busy" doc:"once the allocations of before are gone, if others go on to come and last as in the last 24 hours"`
	FullAt            string  `json:"full_at,omitempty" format:"date-time" doc:"when no number is left; left out: never, at this rate"`
	MoreNeeded        int     `json:"more_needed" doc:"numbers to be added so that none ever lacks at this rate"`
}

// NumbersNeeded is how many numbers always suffice for a load.
type NumbersNeeded struct {
	Exclusive int `json:"exclusive"`
	Shared    int `json:"shared"`
}

// CapacityInput is the request of a pool's capacity.
type CapacityInput struct {
	TenantPath
	Sessions int `query:"sessions" minimum:"0" maximum:"1000000000" doc:"also say how many numbers suffice for so many allocations at once"`
	MostFrom int `query:"most_from" minimum:"1" maximum:"1000000000" default:"1" doc:"with sessions: in how many of them any one number of from stands at most"`
	MostTo   int `query:"most_to" minimum:"1" maximum:"1000000000" default:"1" doc:"with sessions: in how many of them any one number of to stands at most"`
}

// DryRunBody is an allocation that is not made.
type DryRunBody struct {
	From        []string         `json:"from" minItems:"1" maxItems:"10" doc:"E.164"`
	To          []string         `json:"to" minItems:"1" maxItems:"10" doc:"E.164"`
	Usage       *string          `json:"usage,omitempty" enum:"twoway,oneway"`
	Preferences *PreferencesBody `json:"preferences,omitempty"`
}

// DryRunInput is the request of a dry run.
type DryRunInput struct {
	TenantPath
	Body document[DryRunBody]
}

// DryRun is the number that an allocation would get.
type DryRun struct {
	Available     bool            `json:"available"`
	VirtualNumber string          `json:"virtual_number,omitempty" doc:"that auto would take now"`
	Sharing       masking.Sharing `json:"sharing,omitempty" enum:"exclusive,shared"`
	RetryAt       string          `json:"retry_at,omitempty" format:"date-time" doc:"the earliest expiry that would free a number"`
}

// capacityRoutes declares the operations on what a pool has room for.
func (r *router) capacityRoutes() {
	operation[CapacityInput, PoolCapacity](r, tenantOp("GET", "/numbers/capacity", "numbers-capacity", "Tell how full the pool is, and when it runs out"), r.capacity)
	op := tenantOp("POST", "/numbers/capacity/dry-run", "numbers-dry-run", "Tell which number an allocation would get now; takes none")
	op.DefaultStatus = http.StatusOK
	operation[DryRunInput, DryRun](r, op, r.dryRun)
}

func (s *server) capacity(ctx context.Context, in *CapacityInput) (control.Answer, error) {
	t := exchangeOf(ctx).tenant
	c, err := s.Plane.Numbers.Capacity(ctx, t.ID)
	if err != nil {
		return control.Answer{}, err
	}
	v := PoolCapacity{Stock: []Stock{}, Exclusive: ExclusiveCapacity{Numbers: c.Exclusive.Numbers, Busy: len(c.Exclusive.Until),
		AllocationsPerDay: hundredths(c.PerDay), ExpectedBusy: hundredths(c.Level), FullAt: optionalStamp(c.Full, t.Settings.Zone), MoreNeeded: c.Needed}}
	for _, k := range c.Stocks {
		v.Stock = append(v.Stock, Stock{Sharing: k.Sharing, Region: k.Region, Type: k.Type, Numbers: k.Numbers, Busy: k.Busy, Free: k.Numbers - k.Busy,
			ActiveAllocations: k.Load, PINs: k.PINs})
	}
	if in.Sessions > 0 {
		exclusive, shared := masking.NumbersFor(in.Sessions, in.MostFrom, in.MostTo)
		v.Needed = &NumbersNeeded{exclusive, shared}
	}
	return render(http.StatusOK, v), nil
}

func hundredths(x float64) float64 { return math.Round(x*100) / 100 }

func (s *server) dryRun(ctx context.Context, in *DryRunInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	want, err := CreateBody{CallerIDNumber: automatic, From: body.From, To: body.To, Usage: body.Usage, Preferences: body.Preferences}.domain()
	if err != nil {
		return control.Answer{}, err
	}
	want.Duration = time.Second // the tenant's longest is not asked about
	t := exchangeOf(ctx).tenant
	p, err := s.Plane.Allocations.Foresee(ctx, t, want)
	if err != nil {
		return control.Answer{}, err
	}
	v := DryRun{Available: !p.Number.Number.IsZero(), VirtualNumber: p.Number.Number.E164(), Sharing: p.Number.Sharing}
	if !v.Available {
		v.RetryAt = optionalStamp(p.Retry, t.Settings.Zone)
	}
	return render(http.StatusOK, v), nil
}
