package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// Load is a load that numbers are needed for; zero Sessions asks for none.
type Load struct {
	Sessions, MostFrom, MostTo int64
}

// Capacity is how full a pool is, and when it runs out.
type Capacity struct {
	Stock []struct {
		Sharing           string `json:"sharing"`
		Region            string `json:"region"`
		Type              string `json:"type"`
		Numbers           int64  `json:"numbers"`
		Busy              int64  `json:"busy"`
		Free              int64  `json:"free"`
		ActiveAllocations int64  `json:"active_allocations"`
		PINs              int64  `json:"pins"`
	} `json:"stock"`
	Exclusive struct {
		Numbers           int64   `json:"numbers"`
		Busy              int64   `json:"busy"`
		AllocationsPerDay float64 `json:"allocations_per_day"`
		ExpectedBusy      float64 `json:"expected_busy"`
		FullAt            string  `json:"full_at"` // empty: never
		MoreNeeded        int64   `json:"more_needed"`
	} `json:"exclusive"`
	Needed *struct {
		Exclusive int64 `json:"exclusive"`
		Shared    int64 `json:"shared"`
	} `json:"needed"` // only if a load was given
}

// Capacity reads how full the tenant's pool is.
func (c *Client) Capacity(ctx context.Context, tenant string, l Load) (Capacity, error) {
	q := url.Values{}
	if l.Sessions > 0 {
		q.Set("sessions", strconv.FormatInt(l.Sessions, 10))
		q.Set("most_from", strconv.FormatInt(l.MostFrom, 10))
		q.Set("most_to", strconv.FormatInt(l.MostTo, 10))
	}
	return do[Capacity](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "numbers", "capacity"), query: q})
}

// DryRun is the number that an allocation would get.
type DryRun struct {
	Available     bool   `json:"available"`
	VirtualNumber string `json:"virtual_number"`
	Sharing       string `json:"sharing"`
	RetryAt       string `json:"retry_at"`
}

// DryRun tells which number an allocation would get now. Of it only the sides, the
// usage and the preferences count.
func (c *Client) DryRun(ctx context.Context, tenant string, in NewAllocation) (DryRun, error) {
	return do[DryRun](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "numbers", "capacity", "dry-run"), body: in})
}
