package control

import (
	"context"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Tenants are the operator's use cases of tenants.
type Tenants struct {
	*core
	key []byte
}

// NewTenant is what Create is asked for. Zero settings are filled with
// masking.DefaultSettings.
type NewTenant struct {
	ID   masking.TenantID
	Name string
	// Adjust changes the default settings; nil leaves them.
	Adjust func(*masking.Settings) error
}

// Founded is a tenant that was just made, with his first token.
type Founded struct {
	masking.Tenant
	Token NewToken
}

// Create makes a tenant and his first token. A taken id is Conflict.
func (s *Tenants) Create(ctx context.Context, want NewTenant, once Once[Founded]) (Answer, error) {
	zone, err := time.LoadLocation(masking.DefaultZoneName)
	if err != nil {
		return Answer{}, s.fail(ctx, "load the default time zone", err)
	}
	return change(ctx, s.core, operators, "make a tenant", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (Founded, error) {
			t := masking.Tenant{ID: want.ID, Name: want.Name, Settings: masking.DefaultSettings(zone), CreatedAt: now}
			if t.Settings, err = s.adjust(ctx, tx, t.ID, t.Settings, want.Adjust); err != nil {
				return Founded{}, err
			}
			sid, err := s.newID(masking.PrefixAccount, now)
			if err != nil {
				return Founded{}, err
			}
			t.AccountSID = masking.AccountSID(sid)
			if err := tx.InsertTenant(ctx, t); err != nil {
				return Founded{}, err
			}
			token, err := s.mint(s.key, t, "first", now)
			if err != nil {
				return Founded{}, err
			}
			return Founded{t, token}, tx.InsertToken(ctx, token.Token)
		})
}

// Get reads a tenant.
func (s *Tenants) Get(ctx context.Context, id masking.TenantID) (t masking.Tenant, err error) {
	err = s.view(ctx, "read a tenant", func(ctx context.Context, tx store.Reader) error {
		t, err = tx.Tenant(ctx, id)
		return err
	})
	return t, err
}

// List reads all tenants.
func (s *Tenants) List(ctx context.Context) (tenants []masking.Tenant, err error) {
	err = s.view(ctx, "list tenants", func(ctx context.Context, tx store.Reader) error {
		tenants, err = tx.Tenants(ctx)
		return err
	})
	return tenants, err
}

// TenantChange is what Update is asked for; nil leaves a field as it is.
type TenantChange struct {
	Name   *string
	Adjust func(*masking.Settings) error
}

// Update changes a tenant's name and settings. Allocations that live keep
// their expiry.
func (s *Tenants) Update(ctx context.Context, id masking.TenantID, want TenantChange, once Once[masking.Tenant]) (Answer, error) {
	return change(ctx, s.core, operators, "change a tenant", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (masking.Tenant, error) {
			t, err := tx.LockTenant(ctx, id)
			if err != nil {
				return t, err
			}
			if want.Name != nil {
				t.Name = *want.Name
			}
			if t.Settings, err = s.adjust(ctx, tx, t.ID, t.Settings, want.Adjust); err != nil {
				return t, err
			}
			return t, tx.UpdateTenant(ctx, t)
		})
}

// Delete removes a tenant and all that was his. Conflict while he has numbers
// in his pool.
func (s *Tenants) Delete(ctx context.Context, id masking.TenantID, once Once[masking.TenantID]) (Answer, error) {
	return change(ctx, s.core, operators, "remove a tenant", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (masking.TenantID, error) {
			return id, tx.DeleteTenant(ctx, id)
		})
}
