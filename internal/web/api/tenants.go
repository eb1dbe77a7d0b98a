package api

import (
	"context"
	"net/http"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// TenantFounded is the answer to making a tenant. The token is shown once.
type TenantFounded struct {
	TenantID   masking.TenantID   `json:"tenant_id"`
	AccountSID masking.AccountSID `json:"account_sid" doc:"the user name of HTTP Basic"`
	Token      string             `json:"token" doc:"the password of HTTP Basic; shown once"`
}

// Tenant is a tenant as the operator sees him.
type Tenant struct {
	TenantID   masking.TenantID   `json:"tenant_id"`
	AccountSID masking.AccountSID `json:"account_sid"`
	Name       string             `json:"name"`
	RateLimit  RateLimit          `json:"rate_limit"`
	MaxCalls   int64              `json:"max_calls" doc:"calls up at once; 0: any number"`
	Permitted  []string           `json:"permitted_prefixes" doc:"how a number must begin to be rung, whatever the tenant allows himself; empty: any"`
	Settings
	CreatedAt string `json:"created_at" format:"date-time"`
}

// RateLimit bounds a tenant's API requests.
type RateLimit struct {
	PerSecond int64 `json:"per_second"`
	Burst     int64 `json:"burst"`
}

// RateLimitBody changes a rate; omitted keeps its value.
type RateLimitBody struct {
	PerSecond *int64 `json:"per_second,omitempty" minimum:"1" maximum:"100000"`
	Burst     *int64 `json:"burst,omitempty" minimum:"1" maximum:"1000000"`
}

// NewTenantBody asks for a tenant. What is omitted gets its default.
type NewTenantBody struct {
	TenantID string `json:"tenant_id" pattern:"^[a-z0-9][a-z0-9_-]{0,62}$"`
	TenantBody
}

// TenantBody changes a tenant; omitted keeps its value.
type TenantBody struct {
	Name      *string        `json:"name,omitempty" maxLength:"128"`
	RateLimit *RateLimitBody `json:"rate_limit,omitempty"`
	MaxCalls  *int64         `json:"max_calls,omitempty" minimum:"0" maximum:"1000000" doc:"calls up at once; 0: any number"`
	Permitted *[]string      `json:"permitted_prefixes,omitempty" maxItems:"250" doc:"how a number must begin to be rung, whatever the tenant allows himself; empty: any" example:"+91"`
	SettingsBody
}

// TokenBody asks for a token.
type TokenBody struct {
	Label *string `json:"label,omitempty" maxLength:"64"`
}

// TokenMade is the answer to making a token. It is shown once.
type TokenMade struct {
	TokenID masking.TokenID `json:"token_id"`
	Token   string          `json:"token" doc:"shown once"`
}

// Token is a token without its secret.
type Token struct {
	TokenID   masking.TokenID `json:"token_id"`
	Label     string          `json:"label"`
	CreatedAt string          `json:"created_at" format:"date-time"`
}

// Removed is the answer to removing something that has a name.
type Removed struct {
	ID     string `json:"id"`
	Status string `json:"status" enum:"removed"`
}

// NewTenantInput is the request of making a tenant.
type NewTenantInput struct {
	Keyed
	Body document[NewTenantBody]
}

// ChangeTenantInput is the request of changing a tenant.
type ChangeTenantInput struct {
	TenantPath
	Keyed
	Body document[TenantBody]
}

// RemoveTenantInput is the request of removing a tenant.
type RemoveTenantInput struct {
	TenantPath
	Keyed
}

// NewTokenInput is the request of making a token.
type NewTokenInput struct {
	TenantPath
	Keyed
	Body document[TokenBody]
}

// TokenPath names one token.
type TokenPath struct {
	TenantPath
	TokenID string `path:"token_id"`
}

// RevokeInput is the request of revoking a token.
type RevokeInput struct {
	TokenPath
	Keyed
}

// tenantRoutes declares the operations on tenants and tokens.
func (r *router) tenantRoutes() {
	operation[NewTenantInput, TenantFounded](r, operatorOp("POST", "/tenants", "admin-tenants-create", "Make a tenant and his first token"), r.foundTenant)
	operation[struct{}, list[Tenant]](r, operatorOp("GET", "/tenants", "admin-tenants-list", "List tenants"), r.listTenants)
	operation[TenantPath, Tenant](r, operatorOp("GET", "/tenants/{tenant_id}", "admin-tenants-get", "Get a tenant"), r.getTenant)
	operation[ChangeTenantInput, Tenant](r, operatorOp("PUT", "/tenants/{tenant_id}", "admin-tenants-change", "Change a tenant"), r.changeTenant)
	operation[RemoveTenantInput, Removed](r, operatorOp("DELETE", "/tenants/{tenant_id}", "admin-tenants-remove", "Remove a tenant with an empty pool"), r.removeTenant)
	operation[NewTokenInput, TokenMade](r, operatorOp("POST", "/tenants/{tenant_id}/tokens", "admin-tokens-create", "Make a token"), r.makeToken)
	operation[TenantPath, list[Token]](r, operatorOp("GET", "/tenants/{tenant_id}/tokens", "admin-tokens-list", "List tokens"), r.listTokens)
	operation[TokenPath, Token](r, operatorOp("GET", "/tenants/{tenant_id}/tokens/{token_id}", "admin-tokens-get", "Get a token"), r.getToken)
	operation[RevokeInput, Removed](r, operatorOp("DELETE", "/tenants/{tenant_id}/tokens/{token_id}", "admin-tokens-revoke", "Revoke a token"), r.revokeToken)
}

func (s *server) foundTenant(ctx context.Context, in *NewTenantInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	id, err := masking.ParseTenantID(body.TenantID)
	if err != nil {
		return control.Answer{}, err
	}
	if err := body.check(); err != nil {
		return control.Answer{}, err
	}
	name := value(body.Name)
	if name == "" {
		name = body.TenantID
	}
	return s.Plane.Tenants.Create(ctx, control.NewTenant{ID: id, Name: name, Adjust: body.adjust},
		once(ctx, s, http.StatusCreated, func(f control.Founded) TenantFounded {
			return TenantFounded{TenantID: f.ID, AccountSID: f.AccountSID, Token: f.Token.Secret}
		}))
}

// check refuses what masking does not see: texts.
func (b TenantBody) check() error {
	if len([]rune(value(b.Name))) > 128 {
		return invalidField("name", "name must be at most 128 characters")
	}
	return nil
}

// adjust changes the settings that the body names.
func (b TenantBody) adjust(s *masking.Settings) error {
	if rate := b.RateLimit; rate != nil {
		setInt(&s.RateLimit.PerSecond, rate.PerSecond)
		setInt(&s.RateLimit.Burst, rate.Burst)
	}
	setInt(&s.MaxCalls, b.MaxCalls)
	if err := setPrefixes(&s.Guards.Permitted, "permitted_prefixes", b.Permitted); err != nil {
		return err
	}
	return b.SettingsBody.adjust(s)
}

func presentTenant(t masking.Tenant) Tenant {
	s := t.Settings
	return Tenant{TenantID: t.ID, AccountSID: t.AccountSID, Name: t.Name, Settings: presentSettings(s),
		RateLimit: RateLimit{PerSecond: int64(s.RateLimit.PerSecond), Burst: int64(s.RateLimit.Burst)}, MaxCalls: int64(s.MaxCalls),
		Permitted: append([]string{}, s.Guards.Permitted...),
		CreatedAt: masking.Stamp(t.CreatedAt, s.Zone)}
}

func (s *server) listTenants(ctx context.Context, _ *struct{}) (control.Answer, error) {
	tenants, err := s.Plane.Tenants.List(ctx)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(tenants, presentTenant, false, nil)), nil
}

func (s *server) getTenant(ctx context.Context, in *TenantPath) (control.Answer, error) {
	t, err := s.tenantOf(ctx, *in)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, presentTenant(t)), nil
}

func (s *server) changeTenant(ctx context.Context, in *ChangeTenantInput) (control.Answer, error) {
	id, err := in.tenant()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	if err := body.check(); err != nil {
		return control.Answer{}, err
	}
	defer s.guard.Forget(id)
	return s.Plane.Tenants.Update(ctx, id, control.TenantChange{Name: body.Name, Adjust: body.adjust},
		once(ctx, s, http.StatusOK, presentTenant))
}

func (s *server) removeTenant(ctx context.Context, in *RemoveTenantInput) (control.Answer, error) {
	id, err := in.tenant()
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Tenants.Delete(ctx, id, once(ctx, s, http.StatusOK, removed[masking.TenantID]))
}

func removed[T ~string](id T) Removed { return Removed{ID: string(id), Status: "removed"} }

func (s *server) makeToken(ctx context.Context, in *NewTokenInput) (control.Answer, error) {
	id, err := in.tenant()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	if err := short("label", value(body.Label)); err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Tokens.Create(ctx, id, value(body.Label), once(ctx, s, http.StatusCreated,
		func(t control.NewToken) TokenMade { return TokenMade{TokenID: t.ID, Token: t.Secret} }))
}

// short bounds a text that is the operator's own.
func short(field, text string) error {
	if len([]rune(text)) > 64 {
		return invalidField(field, field+" must be at most 64 characters")
	}
	return nil
}

func presentToken(t masking.Token) Token {
	return Token{TokenID: t.ID, Label: t.Label, CreatedAt: masking.Stamp(t.CreatedAt, time.UTC)}
}

func (s *server) listTokens(ctx context.Context, in *TenantPath) (control.Answer, error) {
	id, err := in.tenant()
	if err != nil {
		return control.Answer{}, err
	}
	tokens, err := s.Plane.Tokens.List(ctx, id)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(tokens, presentToken, false, nil)), nil
}

// token reads both identifiers of a token's path.
func (p TokenPath) token() (t masking.TenantID, id masking.TokenID, err error) {
	if t, err = p.tenant(); err != nil {
		return t, id, err
	}
	id, err = parseID[masking.TokenID](masking.PrefixToken, p.TokenID)
	return t, id, err
}

func (s *server) getToken(ctx context.Context, in *TokenPath) (control.Answer, error) {
	tenant, id, err := in.token()
	if err != nil {
		return control.Answer{}, err
	}
	token, err := s.Plane.Tokens.Get(ctx, tenant, id)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, presentToken(token)), nil
}

func (s *server) revokeToken(ctx context.Context, in *RevokeInput) (control.Answer, error) {
	tenant, id, err := in.token()
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Tokens.Revoke(ctx, tenant, id, once(ctx, s, http.StatusOK, removed[masking.TokenID]))
}
