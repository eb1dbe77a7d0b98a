package callflow

import (
	"sync"

	"tandem/internal/masking"
)

// places counts the calls that are up, of each tenant and through each allocation,
// and bounds them as the tenant's settings say when a call comes.
type places struct {
	mu      sync.Mutex
	of      map[masking.TenantID]int
	through map[masking.AllocationID]int
	entered map[masking.CallID]masking.AllocationID // whose PIN a call has brought since it was routed
}

func newPlaces() places {
	return places{of: map[masking.TenantID]int{}, through: map[masking.AllocationID]int{}, entered: map[masking.CallID]masking.AllocationID{}}
}

// take gives a call its place, or says why there is none.
func (p *places) take(plan masking.Plan) masking.Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why := p.lacking(plan); why != "" {
		return why
	}
	p.add(plan, 1)
	return ""
}

// room says what take would, and gives no place.
func (p *places) room(plan masking.Plan) masking.Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lacking(plan)
}

// roomThrough says what enter would, and gives no place.
func (p *places) roomThrough(plan masking.Plan) masking.Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full(plan) {
		return masking.RefusedAllocationLimit
	}
	return ""
}

// lacking says of what there is too little for one more call; "" = there is room.
func (p *places) lacking(plan masking.Plan) masking.Refusal {
	if most := plan.Tenant.Settings.MaxCalls; most > 0 && p.of[plan.Tenant.ID] >= most {
		return masking.RefusedTenantLimit
	}
	if p.full(plan) {
		return masking.RefusedAllocationLimit
	}
	return ""
}

// enter makes a call that has its place one of an allocation.
func (p *places) enter(call masking.CallID, plan masking.Plan) masking.Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full(plan) {
		return masking.RefusedAllocationLimit
	}
	p.entered[call] = plan.Allocation.ID
	p.through[plan.Allocation.ID]++
	return ""
}

// resume gives a call its place whatever the bounds.
func (p *places) resume(plan masking.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(plan, 1)
}

// leave gives the place of a call back; plan is what it was taken with.
func (p *places) leave(call masking.CallID, plan masking.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(plan, -1)
	if id, entered := p.entered[call]; entered {
		delete(p.entered, call)
		change(p.through, id, -1)
	}
}

func (p *places) full(plan masking.Plan) bool {
	most, id := plan.Tenant.Settings.MaxAllocationCalls, plan.Allocation.ID
	return most > 0 && id != "" && p.through[id] >= most
}

func (p *places) add(plan masking.Plan, by int) {
	change(p.of, plan.Tenant.ID, by)
	if id := plan.Allocation.ID; id != "" {
		change(p.through, id, by)
	}
}

// change keeps no entry for nothing.
func change[K comparable](m map[K]int, k K, by int) {
	if m[k] += by; m[k] == 0 {
		delete(m, k)
	}
}
