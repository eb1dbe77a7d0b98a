package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
)

// Start is the time at which every test of a store begins. Stores keep times
// to the millisecond, so fixtures have no finer ones.
func Start() time.Time { return time.Date(2024, 6, 15, 9, 30, 0, 250_000_000, time.UTC) }

// Virtual is the i-th virtual number of the tests.
func Virtual(i int) e164.Number { return e164.MustParse(fmt.Sprintf("+9180000%05d", i)) }

// Person is the i-th telephone of the tests. It is in no pool.
func Person(i int) e164.Number { return e164.MustParse(fmt.Sprintf("+9199000%05d", i)) }

// People are the telephones with these indices.
func People(indices ...int) []e164.Number {
	list := make([]e164.Number, len(indices))
	for k, i := range indices {
		list[k] = Person(i)
	}
	return list
}

// AllocationID is the i-th identifier of the tests; they sort by i.
func AllocationID(i int) masking.AllocationID {
	return masking.AllocationID(identifier(masking.PrefixAllocation, i))
}

// CallID is the i-th identifier of a call; they sort by i.
func CallID(i int) masking.CallID { return masking.CallID(identifier(masking.PrefixCall, i)) }

// EventID is the i-th identifier of an event.
func EventID(i int) masking.EventID { return masking.EventID(identifier(masking.PrefixEvent, i)) }

func identifier(prefix string, i int) string {
	var random [10]byte
	binary.BigEndian.PutUint64(random[:], uint64(i))
	return masking.NewID(prefix, Start(), random)
}

// Tenant is a tenant of the given id with the settings of a new one.
func Tenant(tb testing.TB, id masking.TenantID) masking.Tenant {
	tb.Helper()
	zone, err := time.LoadLocation(masking.DefaultZoneName)
	if err != nil {
		tb.Fatal(err)
	}
	return masking.Tenant{ID: id, AccountSID: masking.AccountSID(masking.PrefixAccount + string(id)), Name: "Tenant " + string(id),
		Settings: masking.DefaultSettings(zone), CreatedAt: Start()}
}

// Token is a token of a tenant, its hash made of its id.
func Token(tenant masking.TenantID, id masking.TokenID) masking.Token {
	return masking.Token{ID: id, Tenant: tenant, Label: "label of " + string(id), Hash: sha256.Sum256([]byte(id)), CreatedAt: Start()}
}

// Number is a virtual number that nobody has used.
func Number(tenant masking.TenantID, n e164.Number, sharing masking.Sharing) masking.VirtualNumber {
	return masking.VirtualNumber{Number: n, Tenant: tenant, Sharing: sharing, Region: "AP", Type: "landline", CreatedAt: Start()}
}

// Allocation is a twoway allocation of an hour, made at Start.
func Allocation(tenant masking.TenantID, id masking.AllocationID, virtual e164.Number, from, to []e164.Number) masking.Allocation {
	return masking.Allocation{ID: id, Tenant: tenant, VirtualNumber: virtual, From: from, To: to, Usage: masking.TwoWay,
		Record: true, CustomField: "order_id=ORD-20240615", CreatedAt: Start(), UpdatedAt: Start(), ExpiresAt: Start().Add(time.Hour)}
}

// PINAllocationID is the i-th identifier of an allocation by PIN; they sort by i.
func PINAllocationID(i int) masking.AllocationID {
	return masking.AllocationID(identifier(masking.PrefixPIN, i))
}

// ByPIN makes an allocation one that a PIN opens, with the same index.
func ByPIN(a masking.Allocation, pin masking.PIN) masking.Allocation {
	a.ID = masking.PrefixPIN + masking.AllocationID(strings.TrimPrefix(string(a.ID), masking.PrefixAllocation))
	a.PIN, a.MaxPINAttempts = pin, masking.DefaultPINAttempts
	return a
}

// Call is a call from a person through an allocation's number, just begun.
func Call(a masking.Allocation, id masking.CallID, caller e164.Number) masking.Call {
	return masking.Call{ID: id, Tenant: a.Tenant, Allocation: a.ID, VirtualNumber: a.VirtualNumber, Caller: caller,
		Direction: masking.FromCalls, CustomField: a.CustomField, Node: "node-1", StartedAt: Start()}
}

// Acme puts in the tenant acme, the exclusive number 1 and the shared number 2.
func Acme(tb testing.TB, s store.Store) masking.Tenant {
	tb.Helper()
	t := Tenant(tb, "acme")
	err := s.Update(tb.Context(), func(ctx context.Context, tx store.Tx) error {
		return errors.Join(
			tx.InsertTenant(ctx, t),
			tx.InsertNumber(ctx, Number("acme", Virtual(1), masking.Exclusive), Start()),
			tx.InsertNumber(ctx, Number("acme", Virtual(2), masking.Shared), Start()))
	})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// Create does with a store what a use case does to create an allocation. It
// gives ErrNotInPool, ErrClaimed or what the store says.
func Create(ctx context.Context, s store.Store, a masking.Allocation, now time.Time) error {
	return s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return create(ctx, tx, a, now) })
}

func create(ctx context.Context, tx store.Tx, a masking.Allocation, now time.Time) error {
	virtual, err := tx.AnyVirtual(ctx, a.Tenant, a.Parties())
	if err != nil {
		return err
	}
	if virtual {
		return &masking.Error{Kind: masking.Invalid, Code: masking.CodePartyIsVirtual, Message: "a party is a virtual number"}
	}
	n, err := tx.Number(ctx, a.Tenant, a.VirtualNumber)
	if err != nil {
		return err
	}
	if err := tx.InsertAllocation(ctx, a); err != nil {
		return err
	}
	if err := tx.Hold(ctx, a, n.Sharing, now); err != nil {
		return err
	}
	if err := tx.NoteUse(ctx, a.VirtualNumber, 1, now); err != nil {
		return err
	}
	return tx.AppendEvent(ctx, masking.AllocationEvent(masking.EventID("evt_"+string(a.ID)), masking.EventCreated, a, time.UTC, "", now))
}

// Change does what a use case does to change the number or the parties of an
// allocation: read it, change it, write it, hold its new claims.
func Change(ctx context.Context, s store.Store, tenant masking.TenantID, id masking.AllocationID, now time.Time,
	change func(masking.Allocation) (masking.Allocation, error)) error {
	return s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		old, err := tx.Allocation(ctx, tenant, id)
		if err != nil {
			return err
		}
		a, err := change(old)
		if err != nil {
			return err
		}
		n, err := tx.Number(ctx, tenant, a.VirtualNumber)
		if err != nil {
			return err
		}
		if err := tx.UpdateAllocation(ctx, a); err != nil {
			return err
		}
		if a.Status(now) != masking.Active {
			return tx.Release(ctx, id)
		}
		return tx.Hold(ctx, a, n.Sharing, now)
	})
}

// Delete ends an allocation and gives up its claims.
func Delete(ctx context.Context, s store.Store, tenant masking.TenantID, id masking.AllocationID, now time.Time) error {
	return Change(ctx, s, tenant, id, now, func(a masking.Allocation) (masking.Allocation, error) {
		a, _ = a.End(masking.EndedByAPI, now)
		return a, nil
	})
}
