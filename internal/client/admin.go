package client

import (
	"context"
	"encoding/json"
	"net/http"
)

// NewTenant asks for a tenant; empty fields get their defaults.
type NewTenant struct {
	TenantID string `json:"tenant_id"`
	TenantChange
}

// TenantChange changes a tenant; nil and empty fields keep their value.
type TenantChange struct {
	Name             string     `json:"name,omitempty"`
	Timezone         string     `json:"timezone,omitempty"`
	RateLimit        *RateLimit `json:"rate_limit,omitempty"`
	MaxCalls         *int64     `json:"max_calls,omitempty"`
	MaxDuration      int64      `json:"max_duration,omitempty"` // seconds
	RingSeconds      int64      `json:"ring_seconds,omitempty"`
	RingTotalSeconds int64      `json:"ring_total_seconds,omitempty"`

	PermittedPrefixes *[]string `json:"permitted_prefixes,omitempty"`
}

// RateLimit bounds a tenant's API requests; 0 keeps a value.
type RateLimit struct {
	PerSecond int64 `json:"per_second,omitempty"`
	Burst     int64 `json:"burst,omitempty"`
}

// Credentials are shown once, when they are made.
type Credentials struct {
	TenantID   string `json:"tenant_id"`
	AccountSID string `json:"account_sid"`
	TokenID    string `json:"token_id"`
	Token      string `json:"token"`
}

// Tenant is a tenant as the operator sees him.
type Tenant struct {
	TenantID         string    `json:"tenant_id"`
	AccountSID       string    `json:"account_sid"`
	Name             string    `json:"name"`
	Timezone         string    `json:"timezone"`
	RateLimit        RateLimit `json:"rate_limit"`
	MaxCalls         int64     `json:"max_calls"` // up at once; 0 = any number
	MaxDuration      int64     `json:"max_duration"`
	RingSeconds      int64     `json:"ring_seconds"`
	RingTotalSeconds int64     `json:"ring_total_seconds"`
	CreatedAt        string    `json:"created_at"`

	PermittedPrefixes []string `json:"permitted_prefixes"` // empty = any number may be rung
}

// Token is a token without its secret.
type Token struct {
	TokenID   string `json:"token_id"`
	Label     string `json:"label"`
	CreatedAt string `json:"created_at"`
}

// NewNumber is a number to be added to a pool.
type NewNumber struct {
	Number  string `json:"number"`
	Sharing string `json:"sharing,omitempty"` // "exclusive" (default) or "shared"
	Region  string `json:"region,omitempty"`
	Type    string `json:"type,omitempty"`
}

// NumberChange changes a number; nil keeps a value.
type NumberChange struct {
	Sharing *string `json:"sharing,omitempty"`
	Region  *string `json:"region,omitempty"`
	Type    *string `json:"type,omitempty"`
	// StrangerPolicy is the number's own; the action "tenant" gives it its tenant's again.
	StrangerPolicy *StrangerPolicy `json:"stranger_policy,omitempty"`
}

// TrunkSettings describe a trunk; nil keeps a value, or gives the default when
// the trunk is made. Country has no default: it decides what a number means.
type TrunkSettings struct {
	Sources       []string `json:"sources,omitempty"`
	Targets       []string `json:"targets,omitempty"`
	Transport     *string  `json:"transport,omitempty"`
	Country       *string  `json:"country,omitempty"`
	NumberFormat  *string  `json:"number_format,omitempty"`
	StripPrefixes []string `json:"strip_prefixes,omitempty"`
	AddPrefix     *string  `json:"add_prefix,omitempty"`
	TrustIdentity *bool    `json:"trust_identity,omitempty"`
	EarlyMedia    *bool    `json:"early_media,omitempty"`
	Priority      *int64   `json:"priority,omitempty"`
	Weight        *int64   `json:"weight,omitempty"`
	MaxCalls      *int64   `json:"max_calls,omitempty"`
	MaxCPS        *int64   `json:"max_cps,omitempty"`
	CallerIDs     []string `json:"caller_ids,omitempty"`
	SRTP          *string  `json:"srtp,omitempty"`
	Takeover      *string  `json:"takeover,omitempty"`

	Auth           *TrunkAuth     `json:"auth,omitempty"`
	Register       *TrunkRegister `json:"register,omitempty"`
	OptionsSeconds *int64         `json:"options_seconds,omitempty"` // 0: never
}

// TrunkAuth are digest credentials; an empty user name takes them away.
type TrunkAuth struct {
	Username *string `json:"username,omitempty"`
	Password *string `json:"password,omitempty"`
	Realm    *string `json:"realm,omitempty"` // empty: any
}

// TrunkRegister is a registration; an empty domain takes it away.
type TrunkRegister struct {
	Domain      *string `json:"domain,omitempty"`
	ContactUser *string `json:"contact_user,omitempty"` // without one: the user name
	Expires     *int64  `json:"expires,omitempty"`      // seconds
}

// NewTrunk names a trunk and describes it.
type NewTrunk struct {
	Name string `json:"name"`
	TrunkSettings
}

// Trunk is a trunk as the operator sees it.
type Trunk struct {
	Name          string   `json:"name"`
	Sources       []string `json:"sources"`
	Targets       []string `json:"targets"`
	Transport     string   `json:"transport"`
	Country       string   `json:"country"`
	NumberFormat  string   `json:"number_format"`
	StripPrefixes []string `json:"strip_prefixes"`
	AddPrefix     string   `json:"add_prefix"`
	TrustIdentity bool     `json:"trust_identity"`
	EarlyMedia    bool     `json:"early_media"`
	Priority      int64    `json:"priority"`
	Weight        int64    `json:"weight"`
	MaxCalls      int64    `json:"max_calls"`
	MaxCPS        int64    `json:"max_cps"`
	CallerIDs     []string `json:"caller_ids"`
	SRTP          string   `json:"srtp"`
	Takeover      string   `json:"takeover"`
	Auth          *struct {
		Username    string `json:"username"`
		Realm       string `json:"realm"`
		PasswordSet bool   `json:"password_set"`
	} `json:"auth,omitempty"`
	Register *struct {
		Domain      string `json:"domain"`
		ContactUser string `json:"contact_user"`
		Expires     int64  `json:"expires"`
	} `json:"register,omitempty"`
	OptionsSeconds int64           `json:"options_seconds"`
	CreatedAt      string          `json:"created_at"`
	UpdatedAt      string          `json:"updated_at"`
	Health         json.RawMessage `json:"health"`
}

// removed is the answer to every removal.
type removed struct {
	ID string `json:"id"`
}

func admin(rest ...string) []string { return append([]string{"admin"}, rest...) }

// CreateTenant makes a tenant and his first token.
func (c *Client) CreateTenant(ctx context.Context, in NewTenant, calls ...Call) (Credentials, error) {
	return do[Credentials](ctx, c, asOperator, request{method: http.MethodPost, path: admin("tenants"), body: in, calls: calls})
}

// Tenants reads all tenants.
func (c *Client) Tenants(ctx context.Context) (List[Tenant], error) {
	return do[List[Tenant]](ctx, c, asOperator, request{method: http.MethodGet, path: admin("tenants")})
}

// Tenant reads one tenant.
func (c *Client) Tenant(ctx context.Context, tenant string) (Tenant, error) {
	return do[Tenant](ctx, c, asOperator, request{method: http.MethodGet, path: admin("tenants", tenant)})
}

// ChangeTenant changes a tenant.
func (c *Client) ChangeTenant(ctx context.Context, tenant string, in TenantChange, calls ...Call) (Tenant, error) {
	return do[Tenant](ctx, c, asOperator, request{method: http.MethodPut, path: admin("tenants", tenant), body: in, calls: calls})
}

// RemoveTenant removes a tenant whose pool is empty.
func (c *Client) RemoveTenant(ctx context.Context, tenant string, calls ...Call) error {
	_, err := do[removed](ctx, c, asOperator, request{method: http.MethodDelete, path: admin("tenants", tenant), calls: calls})
	return err
}

// CreateToken makes a token.
func (c *Client) CreateToken(ctx context.Context, tenant, label string, calls ...Call) (Credentials, error) {
	body := struct {
		Label string `json:"label,omitempty"`
	}{label}
	return do[Credentials](ctx, c, asOperator, request{method: http.MethodPost, path: admin("tenants", tenant, "tokens"), body: body, calls: calls})
}

// Tokens reads a tenant's tokens.
func (c *Client) Tokens(ctx context.Context, tenant string) (List[Token], error) {
	return do[List[Token]](ctx, c, asOperator, request{method: http.MethodGet, path: admin("tenants", tenant, "tokens")})
}

// RevokeToken ends a token within two seconds.
func (c *Client) RevokeToken(ctx context.Context, tenant, id string, calls ...Call) error {
	_, err := do[removed](ctx, c, asOperator, request{method: http.MethodDelete, path: admin("tenants", tenant, "tokens", id), calls: calls})
	return err
}

// AddNumbers adds numbers to a pool, all or none.
func (c *Client) AddNumbers(ctx context.Context, tenant string, numbers []NewNumber, calls ...Call) (List[Number], error) {
	body := struct {
		Numbers []NewNumber `json:"numbers"`
	}{numbers}
	return do[List[Number]](ctx, c, asOperator, request{method: http.MethodPost, path: admin("tenants", tenant, "numbers"), body: body, calls: calls})
}

// NumbersOf reads a page of a tenant's pool.
func (c *Client) NumbersOf(ctx context.Context, tenant string, p Page) (List[Number], error) {
	return do[List[Number]](ctx, c, asOperator, request{method: http.MethodGet, path: admin("tenants", tenant, "numbers"), query: p.query()})
}

// ChangeNumber changes a number of a pool.
func (c *Client) ChangeNumber(ctx context.Context, tenant, number string, in NumberChange, calls ...Call) (Number, error) {
	return do[Number](ctx, c, asOperator, request{method: http.MethodPut, path: admin("tenants", tenant, "numbers", number), body: in, calls: calls})
}

// RemoveNumber takes a number out of a pool.
func (c *Client) RemoveNumber(ctx context.Context, tenant, number string, calls ...Call) error {
	_, err := do[removed](ctx, c, asOperator, request{method: http.MethodDelete, path: admin("tenants", tenant, "numbers", number), calls: calls})
	return err
}

// CreateTrunk adds a trunk.
func (c *Client) CreateTrunk(ctx context.Context, in NewTrunk, calls ...Call) (Trunk, error) {
	return do[Trunk](ctx, c, asOperator, request{method: http.MethodPost, path: admin("trunks"), body: in, calls: calls})
}

// Trunks reads all trunks.
func (c *Client) Trunks(ctx context.Context) (List[Trunk], error) {
	return do[List[Trunk]](ctx, c, asOperator, request{method: http.MethodGet, path: admin("trunks")})
}

// Trunk reads one trunk.
func (c *Client) Trunk(ctx context.Context, name string) (Trunk, error) {
	return do[Trunk](ctx, c, asOperator, request{method: http.MethodGet, path: admin("trunks", name)})
}

// ChangeTrunk changes a trunk.
func (c *Client) ChangeTrunk(ctx context.Context, name string, in TrunkSettings, calls ...Call) (Trunk, error) {
	return do[Trunk](ctx, c, asOperator, request{method: http.MethodPut, path: admin("trunks", name), body: in, calls: calls})
}

// RemoveTrunk removes a trunk.
func (c *Client) RemoveTrunk(ctx context.Context, name string, calls ...Call) error {
	_, err := do[removed](ctx, c, asOperator, request{method: http.MethodDelete, path: admin("trunks", name), calls: calls})
	return err
}

// LiveCalls reads the calls that are up, of all tenants, newest first.
func (c *Client) LiveCalls(ctx context.Context, p Page) (List[CallRecord], error) {
	return do[List[CallRecord]](ctx, c, asOperator, request{method: http.MethodGet, path: admin("calls"), query: p.query()})
}

// AnyCall reads one call of any tenant, numbers hidden.
func (c *Client) AnyCall(ctx context.Context, sid string) (CallRecord, error) {
	return do[CallRecord](ctx, c, asOperator, request{method: http.MethodGet, path: admin("calls", sid)})
}

// EndAllocation ends a tenant's allocation for the operator.
func (c *Client) EndAllocation(ctx context.Context, tenant, id string, terminate bool, calls ...Call) (Allocation, error) {
	return do[Allocation](ctx, c, asOperator, request{method: http.MethodDelete, path: admin("tenants", tenant, "greenvn", id), query: terminated(terminate), calls: calls})
}
