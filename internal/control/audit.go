package control

import (
	"context"
	"strconv"
	"strings"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Origin says who asked for a change, and in which request. An edge fills it in
// from what it has judged: it holds no secret and no number in full.
type Origin struct {
	Actor   string           // a token's id, or masking.Operator
	Tenant  masking.TenantID // whose things it is about; "" if the operator names none
	Action  string           // the operation
	Object  string           // what the request names; "" if it is to be made
	Request string           // X-Request-Id
}

// audited tells whether changes with such a result are in the audit log. All are
// but what a tenant does with his own allocations: that is his traffic, an event
// tells of each, and entries stand one behind the other, which would make all
// tenants' creates wait for each other on every node.
func audited[T any](scope masking.TenantID) bool {
	var result T
	switch any(result).(type) {
	case Snapshot, []PinOutcome:
		return scope == operators
	}
	return true
}

// entry tells of a change that was made.
func entry(by Origin, scope masking.TenantID, result any, now time.Time) masking.AuditEntry {
	if by.Tenant == "" {
		by.Tenant = scope
	}
	switch made := result.(type) { // what the request could not name
	case Founded:
		by.Object, by.Tenant = string(made.ID), made.ID
	case NewToken:
		by.Object = string(made.ID)
	case masking.Trunk:
		by.Object = made.Name
	case Endpoint:
		by.Object = string(made.ID)
	case masking.Erasure:
		by.Object = string(made.ID)
	case []masking.VirtualNumber:
		by.Object = namesOf(made, func(n masking.VirtualNumber) e164.Number { return n.Number })
	case []BlockedCaller:
		by.Object = namesOf(made, func(b BlockedCaller) e164.Number { return b.Number })
	}
	return masking.AuditEntry{At: now, Actor: by.Actor, Tenant: by.Tenant, Action: by.Action, Object: by.Object,
		Outcome: masking.OutcomeDone, Request: by.Request}
}

// refusedEntry tells of a change that a rule refused as things are.
func refusedEntry(by Origin, scope masking.TenantID, refused *masking.Error, now time.Time) masking.AuditEntry {
	e := entry(by, scope, nil, now)
	e.Outcome = string(refused.Code)
	return e
}

// namedNumbers is how many of the numbers that were added are named.
const namedNumbers = 10

func namesOf[T any](numbers []T, number func(T) e164.Number) string {
	var names []string
	for _, n := range numbers[:min(len(numbers), namedNumbers)] {
		names = append(names, number(n).Hidden())
	}
	if more := len(numbers) - namedNumbers; more > 0 {
		names = append(names, "and "+strconv.Itoa(more)+" more")
	}
	return strings.Join(names, " ")
}

// noteLook writes into the audit log that somebody is about to see what not everybody
// may. It is written before he sees it.
func (c *core) noteLook(ctx context.Context, by Origin) error {
	err := c.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.AppendAudit(ctx, entry(by, by.Tenant, nil, c.now()))
	})
	return c.fail(ctx, "write down a look", err)
}

// Audit are the use cases of the audit log.
type Audit struct{ *core }

// AuditQuery narrows a list of entries; zero fields do not.
type AuditQuery = store.AuditFilter

// List reads entries; more tells whether others follow.
func (s *Audit) List(ctx context.Context, q AuditQuery) (page []masking.AuditEntry, more bool, err error) {
	limit := q.Limit
	q.Limit++
	err = s.view(ctx, "read the audit log", func(ctx context.Context, tx store.Reader) error {
		page, err = tx.Audit(ctx, q)
		return err
	})
	page, more = cut(page, limit)
	return page, more, err
}

// Head tells which entry is the last.
func (s *Audit) Head(ctx context.Context) (h masking.AuditHead, err error) {
	err = s.view(ctx, "read the head of the audit log", func(ctx context.Context, tx store.Reader) error {
		h, err = tx.AuditHead(ctx)
		return err
	})
	return h, err
}
