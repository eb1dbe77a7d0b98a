package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// TrunkBody describes a trunk. Made with it, a trunk gets defaults for what is
// omitted; changed with it, what is omitted keeps its value.
type TrunkBody struct {
	Sources        []string       `json:"sources,omitempty" doc:"addresses and networks that may send us requests; kept as networks, with the bits of a host zeroed and IPv4 as IPv4" example:"[\"192.0.2.0/24\"]"`
	Targets        []string       `json:"targets,omitempty" doc:"in order of preference: address:port, or the name of a host or SIP domain, whose servers are found by DNS (RFC 3263): by SRV, or with a port by its addresses alone" example:"[\"192.0.2.1:5060\",\"sip.carrier.example\"]"`
	Transport      *string        `json:"transport,omitempty" enum:"udp,tcp,tls,dns" doc:"dns: as the NAPTR and SRV records of the targets say, UDP without any; default udp"`
	Country        *string        `json:"country,omitempty" doc:"ISO 3166 alpha-2, for numbers written nationally" example:"IN"`
	NumberFormat   *string        `json:"number_format,omitempty" enum:"e164,plain,national" doc:"how numbers are sent: +91…, 91…, 0…; default e164"`
	StripPrefixes  []string       `json:"strip_prefixes,omitempty" doc:"taken off a number as it comes in, before it is read; the longest that fits" example:"[\"9901#\"]"`
	AddPrefix      *string        `json:"add_prefix,omitempty" doc:"put before the number that is rung"`
	TrustIdentity  *bool          `json:"trust_identity,omitempty" doc:"believe P-Asserted-Identity and Remote-Party-ID; default false"`
	EarlyMedia     *bool          `json:"early_media,omitempty" doc:"true is refused in this release"`
	Priority       *int64         `json:"priority,omitempty" minimum:"0" doc:"lower is tried first; default 1"`
	Weight         *int64         `json:"weight,omitempty" minimum:"0" doc:"share among equals; default 1"`
	MaxCalls       *int64         `json:"max_calls,omitempty" minimum:"0" doc:"simultaneous outgoing calls; 0 is no limit"`
	MaxCPS         *int64         `json:"max_cps,omitempty" minimum:"0" doc:"outgoing calls started a second; 0 is no limit"`
	CallerIDs      []string       `json:"caller_ids,omitempty" doc:"virtual numbers it may show, prefixes with *; default all"`
	SRTP           *string        `json:"srtp,omitempty" enum:"off,optional,required" doc:"protection of media that is offered, by keys in SDP; default off. A caller's offer of it is taken in any case, and with required no other"`
	Auth           *TrunkAuth     `json:"auth,omitempty" doc:"digest credentials, for whatever the far side challenges; what is omitted keeps its value"`
	Register       *TrunkRegister `json:"register,omitempty" doc:"registration; what is omitted keeps its value"`
	Takeover       *string        `json:"takeover,omitempty" enum:"auto,on,off" doc:"whether a talk goes on at another node when its own has died, by a re-INVITE from that one's address; auto: unless the trunk registers; default auto"`
	OptionsSeconds *int64         `json:"options_seconds,omitempty" minimum:"0" maximum:"3600" doc:"how often each target is asked by OPTIONS whether it is there, 5 at least; 0: never; default 30"`
}

// TrunkAuth are digest credentials (RFC 3261 §22) as they are given.
type TrunkAuth struct {
	Username *string `json:"username,omitempty" doc:"\"\" takes the credentials away"`
	Password *string `json:"password,omitempty" doc:"kept encrypted, and never shown"`
	Realm    *string `json:"realm,omitempty" doc:"no other is answered; \"\" is any; default any"`
}

// TrunkRegister describes a registration (RFC 3261 §10) as it is given.
type TrunkRegister struct {
	Domain      *string `json:"domain,omitempty" doc:"where the account is; \"\" takes the registration away" example:"sip.carrier.example"`
	ContactUser *string `json:"contact_user,omitempty" doc:"user part of our Contact; default auth.username. A call to it is one to the number in To"`
	Expires     *int64  `json:"expires,omitempty" doc:"seconds that are asked for, 60 to 86400; default 3600"`
}

// NewTrunkBody names a trunk and describes it.
type NewTrunkBody struct {
	Name string `json:"name" pattern:"^[a-z0-9][a-z0-9_.-]{0,62}$"`
	TrunkBody
}

// Trunk is a trunk as the operator sees it.
type Trunk struct {
	Name           string               `json:"name"`
	Sources        []string             `json:"sources"`
	Targets        []string             `json:"targets"`
	Transport      masking.Transport    `json:"transport"`
	Country        string               `json:"country"`
	NumberFormat   masking.NumberFormat `json:"number_format"`
	StripPrefixes  []string             `json:"strip_prefixes"`
	AddPrefix      string               `json:"add_prefix"`
	TrustIdentity  bool                 `json:"trust_identity"`
	EarlyMedia     bool                 `json:"early_media"`
	Priority       int64                `json:"priority"`
	Weight         int64                `json:"weight"`
	MaxCalls       int64                `json:"max_calls"`
	MaxCPS         int64                `json:"max_cps"`
	CallerIDs      []string             `json:"caller_ids"`
	SRTP           masking.SRTP         `json:"srtp"`
	Auth           *ShownTrunkAuth      `json:"auth,omitempty"`
	Register       *ShownTrunkRegister  `json:"register,omitempty"`
	OptionsSeconds int64                `json:"options_seconds"`
	Takeover       masking.Takeover     `json:"takeover"`
	CreatedAt      string               `json:"created_at" format:"date-time"`
	UpdatedAt      string               `json:"updated_at" format:"date-time"`
	Health         any                  `json:"health,omitempty" doc:"what this node knows of it now"`
}

// ShownTrunkAuth are credentials as the operator sees them: without the password.
type ShownTrunkAuth struct {
	Username string `json:"username"`
	Realm    string `json:"realm"`
	Password bool   `json:"password_set"`
}

// ShownTrunkRegister is a registration as the operator sees it.
type ShownTrunkRegister struct {
	Domain      string `json:"domain"`
	ContactUser string `json:"contact_user"`
	Expires     int64  `json:"expires"`
}

// NewTrunkInput is the request of adding a trunk.
type NewTrunkInput struct {
	Keyed
	Body document[NewTrunkBody]
}

// TrunkPath names one trunk.
type TrunkPath struct {
	Name string `path:"name"`
}

// ChangeTrunkInput is the request of changing a trunk.
type ChangeTrunkInput struct {
	TrunkPath
	Keyed
	Body document[TrunkBody]
}

// RemoveTrunkInput is the request of removing a trunk.
type RemoveTrunkInput struct {
	TrunkPath
	Keyed
}

// trunkRoutes declares the operations on trunks.
func (r *router) trunkRoutes() {
	operation[NewTrunkInput, Trunk](r, operatorOp("POST", "/trunks", "admin-trunks-create", "Add a trunk"), r.addTrunk)
	operation[struct{}, list[Trunk]](r, operatorOp("GET", "/trunks", "admin-trunks-list", "List trunks"), r.listTrunks)
	operation[TrunkPath, Trunk](r, operatorOp("GET", "/trunks/{name}", "admin-trunks-get", "Get a trunk"), r.getTrunk)
	operation[ChangeTrunkInput, Trunk](r, operatorOp("PUT", "/trunks/{name}", "admin-trunks-change", "Change a trunk"), r.changeTrunk)
	operation[RemoveTrunkInput, Removed](r, operatorOp("DELETE", "/trunks/{name}", "admin-trunks-remove", "Remove a trunk"), r.removeTrunk)
}

func (s *server) addTrunk(ctx context.Context, in *NewTrunkInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	t, err := s.changedBy(body.Name, body.TrunkBody)(masking.Trunk{Name: body.Name, Transport: masking.UDP, NumberFormat: masking.FormatE164,
		Priority: 1, Weight: 1, CallerIDs: []string{"*"}, SRTP: masking.SRTPOff, Takeover: masking.TakeoverAuto,
		OptionsEvery: masking.DefaultOptionsEvery})
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Trunks.Create(ctx, t, once(ctx, s, http.StatusCreated, s.presentTrunk))
}

// changedBy is the change that a body asks for. The password is sealed here, once:
// the change itself may be made more than once, and must come out the same.
func (s *server) changedBy(name string, b TrunkBody) func(masking.Trunk) (masking.Trunk, error) {
	var sealed []byte
	if b.Auth != nil && b.Auth.Password != nil {
		sealed = s.Plane.Trunks.Seal(name, *b.Auth.Password)
	}
	return func(t masking.Trunk) (masking.Trunk, error) {
		t, err := b.apply(t)
		if err != nil {
			return t, err
		}
		if err := b.Auth.apply(&t.Auth, sealed); err != nil {
			return t, err
		}
		b.Register.apply(&t.Register)
		return t, t.Check()
	}
}

// apply changes a trunk by what the body names. It refuses what this release
// cannot do, rather than take it and not do it.
func (b TrunkBody) apply(t masking.Trunk) (masking.Trunk, error) {
	if err := b.checkSupported(); err != nil {
		return t, err
	}
	var err error
	if b.Sources != nil {
		if t.Sources, err = parseSources(b.Sources); err != nil {
			return t, err
		}
	}
	if b.Targets != nil {
		if t.Targets, err = parseTargets(b.Targets); err != nil {
			return t, err
		}
	}
	if b.Transport != nil {
		t.Transport = masking.Transport(*b.Transport)
	}
	if b.NumberFormat != nil {
		t.NumberFormat = masking.NumberFormat(*b.NumberFormat)
	}
	if b.CallerIDs != nil {
		t.CallerIDs = b.CallerIDs
	}
	if b.SRTP != nil {
		t.SRTP = masking.SRTP(*b.SRTP)
	}
	if b.Takeover != nil {
		t.Takeover = masking.Takeover(*b.Takeover)
	}
	if b.StripPrefixes != nil {
		t.StripPrefixes = b.StripPrefixes
	}
	if b.OptionsSeconds != nil {
		t.OptionsEvery = seconds(*b.OptionsSeconds)
	}
	set(&t.Country, b.Country)
	set(&t.AddPrefix, b.AddPrefix)
	set(&t.TrustIdentity, b.TrustIdentity)
	setInt(&t.Priority, b.Priority)
	setInt(&t.Weight, b.Weight)
	setInt(&t.MaxCalls, b.MaxCalls)
	setInt(&t.MaxCPS, b.MaxCPS)
	return t, nil
}

func (b TrunkBody) checkSupported() error {
	switch {
	case value(b.EarlyMedia):
		return invalidField("early_media", "early_media true is not supported in this release")
	}
	return nil
}

// maxPassword is the longest password of a trunk, in bytes.
const maxPassword = 256

// apply changes credentials; sealed is the password, if one is given.
func (a *TrunkAuth) apply(c *masking.Credentials, sealed []byte) error {
	if a == nil {
		return nil
	}
	if n := len(value(a.Password)); a.Password != nil && (n == 0 || n > maxPassword) {
		return invalidField("auth.password", "auth.password must be 1 to 256 bytes")
	}
	set(&c.Username, a.Username)
	set(&c.Realm, a.Realm)
	switch {
	case a.Username != nil && *a.Username == "":
		*c = masking.Credentials{}
	case c.Username == "":
		return missingField("auth.username", "auth.username is required")
	case sealed != nil:
		c.Sealed = sealed
	}
	return nil
}

// apply changes a registration.
func (r *TrunkRegister) apply(to *masking.Registration) {
	if r == nil {
		return
	}
	if r.Domain != nil {
		to.Domain = strings.ToLower(*r.Domain)
	}
	set(&to.ContactUser, r.ContactUser)
	if r.Expires != nil {
		to.Expires = seconds(*r.Expires)
	}
	switch {
	case to.Domain == "":
		*to = masking.Registration{}
	case to.Expires == 0 && r.Expires == nil:
		to.Expires = masking.DefaultRegisterExpires
	}
}

// parseSources reads addresses and networks; an address is a network of one.
// They are kept in the form in which a packet's source is judged: what maps
// IPv4 into IPv6 becomes IPv4, and bits of a host within its network are zeroed.
func parseSources(texts []string) ([]netip.Prefix, error) {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil || addr.Zone() != "" {
				return nil, invalidField("sources", fmt.Sprintf("sources[%d] must be an address or a network such as 192.0.2.0/24", i))
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		if p.Addr().Is4In6() {
			const mapped = 96 // bits of ::ffff:0:0/96 (RFC 4291 §2.5.5.2)
			if p.Bits() < mapped {
				return nil, invalidField("sources", fmt.Sprintf("sources[%d] is wider than the IPv4 addresses in IPv6, ::ffff:0:0/96", i))
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
		}
		out[i] = p.Masked()
	}
	return out, nil
}

func parseTargets(texts []string) ([]masking.Target, error) {
	out := make([]masking.Target, len(texts))
	for i, text := range texts {
		t, ok := masking.ParseTarget(text)
		if !ok {
			return nil, invalidField("targets", fmt.Sprintf("targets[%d] must be address:port, a host name, or name:port", i))
		}
		out[i] = t
	}
	return out, nil
}

func (s *server) presentTrunk(t masking.Trunk) Trunk {
	v := Trunk{Name: t.Name, Sources: make([]string, len(t.Sources)), Targets: make([]string, len(t.Targets)),
		Transport: t.Transport, Country: t.Country, NumberFormat: t.NumberFormat, TrustIdentity: t.TrustIdentity,
		Priority: int64(t.Priority), Weight: int64(t.Weight), MaxCalls: int64(t.MaxCalls), MaxCPS: int64(t.MaxCPS),
		CallerIDs: append([]string{}, t.CallerIDs...), StripPrefixes: append([]string{}, t.StripPrefixes...), AddPrefix: t.AddPrefix,
		SRTP:           cmp.Or(t.SRTP, masking.SRTPOff),
		Takeover:       cmp.Or(t.Takeover, masking.TakeoverAuto),
		OptionsSeconds: int64(t.OptionsEvery / time.Second),
		CreatedAt:      masking.Stamp(t.CreatedAt, time.UTC), UpdatedAt: masking.Stamp(t.UpdatedAt, time.UTC)}
	for i, p := range t.Sources {
		v.Sources[i] = p.String()
	}
	for i, ap := range t.Targets {
		v.Targets[i] = ap.String()
	}
	if a := t.Auth; a.Username != "" {
		v.Auth = &ShownTrunkAuth{a.Username, a.Realm, len(a.Sealed) > 0}
	}
	if r := t.Register; r.Domain != "" {
		v.Register = &ShownTrunkRegister{r.Domain, r.Contact(t.Auth), int64(r.Expires / time.Second)}
	}
	return v
}

// healthyTrunk adds what this node knows of the trunk.
func (s *server) healthyTrunk(t masking.Trunk) Trunk {
	v := s.presentTrunk(t)
	if s.TrunkHealth != nil {
		v.Health = s.TrunkHealth(t.Name)
	}
	return v
}

func (s *server) listTrunks(ctx context.Context, _ *struct{}) (control.Answer, error) {
	trunks, err := s.Plane.Trunks.List(ctx)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(trunks, s.healthyTrunk, false, nil)), nil
}

func (s *server) getTrunk(ctx context.Context, in *TrunkPath) (control.Answer, error) {
	t, err := s.Plane.Trunks.Get(ctx, in.Name)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, s.healthyTrunk(t)), nil
}

func (s *server) changeTrunk(ctx context.Context, in *ChangeTrunkInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Trunks.Update(ctx, in.Name, s.changedBy(in.Name, body), once(ctx, s, http.StatusOK, s.presentTrunk))
}

func (s *server) removeTrunk(ctx context.Context, in *RemoveTrunkInput) (control.Answer, error) {
	return s.Plane.Trunks.Remove(ctx, in.Name, once(ctx, s, http.StatusOK, removed[string]))
}
