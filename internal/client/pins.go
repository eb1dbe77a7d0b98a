package client

import (
	"context"
	"net/http"
)

// NewPin asks for an allocation that a PIN opens.
type NewPin struct {
	CallerIDNumber string   `json:"caller_id_number"` // E.164
	From           []string `json:"from"`
	To             []string `json:"to,omitempty"`       // may be named later
	Duration       int64    `json:"duration,omitempty"` // seconds; 0 for the default
	MaxPINAttempts int64    `json:"max_pin_attempts,omitempty"`
	Record         bool     `json:"record,omitempty"`
	CustomField    string   `json:"custom_field,omitempty"`
}

// Pin is a GreenPin allocation as the API shows it. Which fields are filled depends
// on the operation, as the contract says; PIN only at create and get.
type Pin struct {
	GreenPinID     string   `json:"greenpin_id"`
	VirtualNumber  string   `json:"virtual_number"`
	From           []string `json:"from"`
	To             []string `json:"to"`
	PIN            string   `json:"pin"`
	Status         string   `json:"status"`
	MaxPINAttempts int64    `json:"max_pin_attempts"`
	Record         bool     `json:"record"`
	CustomField    string   `json:"custom_field"`
	CallCount      int64    `json:"call_count"` // calls that were connected
	CreatedAt      string   `json:"created_at"`
	UpdatedAt      string   `json:"updated_at"`
	ExpiresAt      string   `json:"expires_at"`
	Calls          Tally    `json:"calls"`
	DeletedAt      string   `json:"deleted_at"`
	EndReason      string   `json:"end_reason"`
	UnlockedAt     string   `json:"unlocked_at"`
}

// PinChange changes what it names; nil leaves a field as it is.
type PinChange struct {
	From           []string `json:"from,omitempty"`
	To             []string `json:"to,omitempty"`
	Duration       *int64   `json:"duration,omitempty"` // seconds from now
	MaxPINAttempts *int64   `json:"max_pin_attempts,omitempty"`
	Record         *bool    `json:"record,omitempty"`
	CustomField    *string  `json:"custom_field,omitempty"`
}

// PinItem is one of many updates.
type PinItem struct {
	GreenPinID string `json:"greenpin_id"`
	PinChange
}

// PinResult is what became of one of many updates.
type PinResult struct {
	GreenPinID string    `json:"greenpin_id"`
	Status     string    `json:"status"` // "updated" or "failed"
	Allocation Pin       `json:"allocation"`
	Error      *PinError `json:"error"` // nil if it was updated
}

// PinError says why one of many updates was not applied.
type PinError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field"`
}

// CreatePin lends a virtual number to two sides, behind a PIN.
func (c *Client) CreatePin(ctx context.Context, tenant string, in NewPin, calls ...Call) (Pin, error) {
	return do[Pin](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "greenpin"), body: in, calls: calls})
}

// Pin reads one allocation, with its PIN.
func (c *Client) Pin(ctx context.Context, tenant, id string) (Pin, error) {
	return do[Pin](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "greenpin", id)})
}

// Pins reads a page of allocations, newest first, without their PINs.
func (c *Client) Pins(ctx context.Context, tenant string, f AllocationFilter) (List[Pin], error) {
	return do[List[Pin]](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "greenpin"), query: f.all()})
}

// UpdatePin changes an allocation; its PIN stays.
func (c *Client) UpdatePin(ctx context.Context, tenant, id string, in PinChange, calls ...Call) (Pin, error) {
	return do[Pin](ctx, c, asTenant, request{method: http.MethodPut, path: own(tenant, "greenpin", id), body: in, calls: calls})
}

// UpdatePins changes many allocations, each for itself, and tells what became of
// each in the order of in.
func (c *Client) UpdatePins(ctx context.Context, tenant string, in []PinItem, calls ...Call) ([]PinResult, error) {
	out, err := do[struct {
		Results []PinResult `json:"results"`
	}](ctx, c, asTenant, request{method: http.MethodPut, path: own(tenant, "greenpin"), body: in, calls: calls})
	return out.Results, err
}

// DeletePin ends an allocation; terminate ends its calls too.
func (c *Client) DeletePin(ctx context.Context, tenant, id string, terminate bool, calls ...Call) (Pin, error) {
	return do[Pin](ctx, c, asTenant, request{method: http.MethodDelete, path: own(tenant, "greenpin", id), query: terminated(terminate), calls: calls})
}

// UnlockPin forgets wrong PINs: those of one caller, or with "" those of all
// parties.
func (c *Client) UnlockPin(ctx context.Context, tenant, id, caller string, calls ...Call) (Pin, error) {
	body := struct {
		Caller string `json:"caller,omitempty"`
	}{caller}
	return do[Pin](ctx, c, asTenant, request{method: http.MethodPost, path: own(tenant, "greenpin", id, "unlock"), body: body, calls: calls})
}
