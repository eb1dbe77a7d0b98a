// Package webhook speaks with the servers of tenants. It delivers events to their
// endpoints (Deliverer) and asks what a caller gets whom no allocation
// names (Asker; app gives it to voice/callflow).
//
// A tenant's server is not trusted: it is reached only at public addresses unless
// the operator allows others, followed nowhere, read only so far, and waited for
// only so long.
package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"tandem/internal/masking"
)

const (
	maxAnswer  = 4 << 10
	mostAtOnce = 64 // questions; of one tenant, a quarter
)

// AskerOptions are what an Asker works with. Secret is required.
type AskerOptions struct {
	AllowPrivate bool                          // servers at private and loopback addresses too
	Secret       func(masking.TenantID) string // "whsec_…", which signs the questions to his server
	Timeout      time.Duration                 // of one question; 0 = 3 s
}

// Asker asks. Its methods may be called from any goroutine.
type Asker struct {
	o      AskerOptions
	client *http.Client

	mu    sync.Mutex
	all   int
	under map[masking.TenantID]int // questions under way
}

// NewAsker makes an Asker; Close it.
func NewAsker(o AskerOptions) *Asker {
	if o.Timeout == 0 {
		o.Timeout = 3 * time.Second
	}
	return &Asker{o: o, under: map[masking.TenantID]int{}, client: newClient(o.AllowPrivate, o.Timeout)}
}

// Close ends the connections that are kept open.
func (a *Asker) Close() { a.client.CloseIdleConnections() }

// Faults of a tenant's server. No error of Ask holds an address or a number.
var (
	errBusy    = errors.New("too many questions to tenants' servers are under way")
	errReach   = errors.New("the tenant's server cannot be reached, or did not answer in time")
	errStatus  = errors.New("the tenant's server did not answer with 200")
	errTooLong = errors.New("the tenant's server answered more than 4096 bytes")
	errNoSense = errors.New("the tenant's server answered something else than an action")
)

// Ask asks the server at url, which is q.Tenant's. Whatever goes wrong is an error.
func (a *Asker) Ask(ctx context.Context, url string, q masking.Question) (masking.Answer, error) {
	if !a.take(q.Tenant) {
		return masking.Answer{}, errBusy
	}
	defer a.give(q.Tenant)
	ctx, cancel := context.WithTimeout(ctx, a.o.Timeout)
	defer cancel()
	req, err := a.request(ctx, url, q)
	if err != nil {
		return masking.Answer{}, err
	}
	res, err := a.client.Do(req)
	if err != nil {
		if errors.Is(err, errForbidden) {
			return masking.Answer{}, errForbidden
		}
		return masking.Answer{}, errReach // the error of net/http holds the address
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return masking.Answer{}, errStatus
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return masking.Answer{}, errReach
	case len(body) > maxAnswer:
		return masking.Answer{}, errTooLong
	}
	return parseAnswer(body)
}

// request writes the question, signed as the Standard Webhooks specification says.
func (a *Asker) request(ctx context.Context, url string, q masking.Question) (*http.Request, error) {
	body, err := json.Marshal(message{Type: "call.stranger", Timestamp: q.At.UTC().Format(time.RFC3339), Data: stranger{
		CallSID: q.Call, VirtualNumber: q.VirtualNumber.E164(), From: q.Caller.E164(), Reason: q.Reason}})
	if err != nil {
		return nil, errors.New("the question cannot be written")
	}
	return signed(ctx, url, letter{string(q.Call), time.Now(), body}, a.o.Secret(q.Tenant))
}

type message struct {
	Type      string   `json:"type"`
	Timestamp string   `json:"timestamp"`
	Data      stranger `json:"data"`
}

type stranger struct {
	CallSID       masking.CallID  `json:"call_sid"`
	VirtualNumber string          `json:"virtual_number"`
	From          string          `json:"from,omitempty"`
	Reason        masking.Refusal `json:"reason"`
}

// parseAnswer reads one JSON object with an action.
func parseAnswer(body []byte) (masking.Answer, error) {
	var said struct {
		Action    masking.StrangerAction `json:"action"`
		ForwardTo string                 `json:"forward_to"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return masking.Answer{}, errNoSense
	}
	switch said.Action {
	case masking.Announce, masking.AskPIN, masking.Reject:
		return masking.Answer{Action: said.Action}, nil
	case masking.Forward:
		return masking.Answer{Action: said.Action, ForwardTo: said.ForwardTo}, nil
	}
	return masking.Answer{}, errNoSense
}

// take counts a question in, so that the dead server of one tenant keeps no other
// tenant's waiting.
func (a *Asker) take(t masking.TenantID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all >= mostAtOnce || a.under[t] >= mostAtOnce/4 {
		return false
	}
	a.all++
	a.under[t]++
	return true
}

func (a *Asker) give(t masking.TenantID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all--
	if a.under[t]--; a.under[t] == 0 {
		delete(a.under, t)
	}
}
