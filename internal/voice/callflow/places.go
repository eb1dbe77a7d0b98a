package callflow

import (
	"context"
	"sync"

	"tandem/internal/masking"
	"tandem/internal/quota"
)

// places counts the calls that are up, of each tenant and through each allocation,
// and bounds them as the tenant's settings say when a call comes: on all nodes
// together, as far as quota can.
type places struct {
	quota   *quota.Quota
	mu      sync.Mutex
	entered map[masking.CallID]masking.AllocationID // whose PIN a call has brought since it was routed
}

func newPlaces(q *quota.Quota) places {
	return places{quota: q, entered: map[masking.CallID]masking.AllocationID{}}
}

// The names of the bounds.
func callsOf(t masking.TenantID) string           { return "calls of tenant " + string(t) }
func callsThrough(id masking.AllocationID) string { return "calls through " + string(id) }

// take gives a call its place, or says why there is none. An error means that nobody
// knows what other nodes have.
func (p *places) take(ctx context.Context, plan masking.Plan) (masking.Refusal, error) {
	ctx, cancel := quota.Waiting(ctx, 0)
	defer cancel()
	ok, err := p.quota.Take(ctx, callsOf(plan.Tenant.ID), plan.Tenant.Settings.MaxCalls)
	if err != nil {
		return "", err
	}
	if !ok {
		return masking.RefusedTenantLimit, nil
	}
	why, err := p.takeThrough(ctx, plan)
	if err != nil || why != "" {
		p.quota.Give(callsOf(plan.Tenant.ID))
	}
	return why, err
}

func (p *places) takeThrough(ctx context.Context, plan masking.Plan) (masking.Refusal, error) {
	if plan.Allocation.ID == "" {
		return "", nil
	}
	ok, err := p.quota.Take(ctx, callsThrough(plan.Allocation.ID), plan.Tenant.Settings.MaxAllocationCalls)
	if err == nil && !ok {
		return masking.RefusedAllocationLimit, nil
	}
	return "", err
}

// room says what take would, as far as this node knows, and gives no place.
func (p *places) room(plan masking.Plan) masking.Refusal {
	if !p.quota.Room(callsOf(plan.Tenant.ID), plan.Tenant.Settings.MaxCalls) {
		return masking.RefusedTenantLimit
	}
	return p.roomThrough(plan)
}

// roomThrough says what enter would, and gives no place.
func (p *places) roomThrough(plan masking.Plan) masking.Refusal {
	if plan.Allocation.ID != "" && !p.quota.Room(callsThrough(plan.Allocation.ID), plan.Tenant.Settings.MaxAllocationCalls) {
		return masking.RefusedAllocationLimit
	}
	return ""
}

// enter makes a call that has its place one of an allocation.
func (p *places) enter(ctx context.Context, call masking.CallID, plan masking.Plan) (masking.Refusal, error) {
	why, err := p.takeThrough(ctx, plan)
	if err != nil || why != "" {
		return why, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entered[call] = plan.Allocation.ID
	return "", nil
}

// resume gives a call its place whatever the bounds.
func (p *places) resume(plan masking.Plan) {
	p.quota.Add(callsOf(plan.Tenant.ID), plan.Tenant.Settings.MaxCalls)
	if id := plan.Allocation.ID; id != "" {
		p.quota.Add(callsThrough(id), plan.Tenant.Settings.MaxAllocationCalls)
	}
}

// leave gives the place of a call back; plan is what it was taken with.
func (p *places) leave(call masking.CallID, plan masking.Plan) {
	p.mu.Lock()
	entered, did := p.entered[call]
	delete(p.entered, call)
	p.mu.Unlock()
	p.quota.Give(callsOf(plan.Tenant.ID))
	if id := plan.Allocation.ID; id != "" {
		p.quota.Give(callsThrough(id))
	}
	if did {
		p.quota.Give(callsThrough(entered))
	}
}
