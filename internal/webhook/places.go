package webhook

import (
	"sync"

	"tandem/internal/masking"
)

// How much is under way at once. A tenant with nothing under way always finds a
// place; what is more than one of a tenant shares. An endpoint is well whose last
// answer was a success and quick; those of which that is not known share half of
// what is shared, so that however many servers hang, the other half is for the well.
const (
	atAll      = 256 // besides one of each tenant
	atDoubtful = atAll / 2
	atTenant   = 32
	atEndpoint = 8
	atFewer    = 4 // of an endpoint that is not known to be well
)

// places counts requests under way.
type places struct {
	mu            sync.Mutex
	all, doubtful int
	under         map[masking.TenantID]int
}

// place is one that was taken.
type place struct {
	tenant         masking.TenantID
	shared, doubts bool
}

func newPlaces() *places { return &places{under: map[masking.TenantID]int{}} }

// take takes a place for a request to an endpoint that is well or not known to be;
// false: there is none now.
func (p *places) take(t masking.TenantID, well bool) (place, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := place{t, p.under[t] > 0, !well}
	if one.shared {
		if p.all >= atAll || p.under[t] >= atTenant || (one.doubts && p.doubtful >= atDoubtful) {
			return place{}, false
		}
		p.all++
		if one.doubts {
			p.doubtful++
		}
	}
	p.under[t]++
	return one, true
}

func (p *places) give(one place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.under[one.tenant]--; p.under[one.tenant] == 0 {
		delete(p.under, one.tenant)
	}
	if one.shared {
		p.all--
		if one.doubts {
			p.doubtful--
		}
	}
}
