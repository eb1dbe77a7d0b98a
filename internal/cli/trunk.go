package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

func (p *program) trunkCommand() *cobra.Command {
	g := p.api("trunk", "Trunks: where a carrier's calls come from and where ours go (operator)")
	g.add(verb{use: "list", short: "List trunks", args: exactly(),
		columns: []string{"name", "sources", "targets", "transport", "number_format", "priority", "weight", "caller_ids"},
		run: func(ctx context.Context, s *session, _ []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.Trunks(ctx)
			return err
		}})
	g.add(verb{use: "get NAME", short: "Show a trunk and its health", args: exactly("NAME"),
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.Trunk(ctx, args[0])
			return err
		}})
	var fresh, change trunkFlags
	create := g.add(verb{use: "create NAME", short: "Add a trunk", args: exactly("NAME"),
		example: "  tandem trunk create carrier-a --source 198.51.100.0/28 --target 198.51.100.4:5060 --country IN\n" +
			"  tandem trunk create carrier-b --target 198.51.100.9:5060 --country IN --auth-username acme \\\n" +
			"    --auth-password-file secret --register-domain carrier.example",
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			settings, err := fresh.given(s.cmd)
			if err == nil {
				_, err = s.CreateTrunk(ctx, client.NewTrunk{Name: args[0], TrunkSettings: settings})
			}
			return err
		}})
	fresh.on(create)
	update := g.add(verb{use: "update NAME", short: "Change a trunk; what is not given stays", args: exactly("NAME"),
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			settings, err := change.given(s.cmd)
			if err == nil {
				_, err = s.ChangeTrunk(ctx, args[0], settings)
			}
			return err
		}})
	change.on(update)
	g.add(verb{use: "delete NAME", short: "Remove a trunk", args: exactly("NAME"),
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			return s.RemoveTrunk(ctx, args[0])
		}})
	return g.cmd
}

// trunkFlags are the settings of a trunk as flags.
type trunkFlags struct {
	sources, targets, callerIDs, strip         []string
	transport, country, format, add, srtp      string
	takeover                                   string
	trustIdentity                              bool
	priority, weight, maxCalls, maxCallsSecond int64
	username, passwordFile, realm              string
	domain, contactUser                        string
	expires, options                           int64
}

func (t *trunkFlags) on(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&t.sources, "source", nil, "address or network that may send us requests; may be repeated")
	flags.StringSliceVar(&t.targets, "target", nil, "IP:PORT, NAME or NAME:PORT to send to, in order of preference; may be repeated")
	flags.StringSliceVar(&t.callerIDs, "caller-id", nil, "virtual number it may show, or a prefix with *; may be repeated (default all)")
	flags.StringVar(&t.transport, "transport", "", "udp (default), tcp, tls, or dns: as the records of the targets say")
	flags.StringVar(&t.srtp, "srtp", "", "protection of media that is offered: off (default), optional, required")
	flags.StringVar(&t.takeover, "takeover", "", "whether talks go on at another node when theirs has died: auto (default: unless it registers), on, off")
	flags.StringVar(&t.country, "country", "", "ISO 3166 code, for numbers written nationally")
	flags.StringVar(&t.format, "number-format", "", "how numbers are sent: e164 +91… (default), plain 91…, national 0…")
	flags.StringSliceVar(&t.strip, "strip-prefix", nil, "taken off a number as it comes in; may be repeated")
	flags.StringVar(&t.add, "add-prefix", "", "put before the number that is rung")
	flags.BoolVar(&t.trustIdentity, "trust-identity", false, "believe P-Asserted-Identity and Remote-Party-ID")
	flags.Int64Var(&t.priority, "priority", 1, "lower is tried first")
	flags.Int64Var(&t.weight, "weight", 1, "share among equals")
	flags.Int64Var(&t.maxCalls, "max-calls", 0, "outgoing calls at once; 0 is no limit")
	flags.Int64Var(&t.maxCallsSecond, "max-cps", 0, "outgoing calls started a second; 0 is no limit")
	flags.StringVar(&t.username, "auth-username", "", `user name that challenges are answered with; "" takes the credentials away`)
	flags.StringVar(&t.passwordFile, "auth-password-file", "", "file with the password; - is the standard input")
	flags.StringVar(&t.realm, "auth-realm", "", "the only realm that is answered (default any)")
	flags.StringVar(&t.domain, "register-domain", "", `domain to register with; "" takes the registration away`)
	flags.StringVar(&t.contactUser, "register-contact-user", "", "user part of our Contact (default the user name)")
	flags.Int64Var(&t.expires, "register-expires", 3600, "seconds that a registration is asked for")
	flags.Int64Var(&t.options, "options-seconds", 30, "how often its targets are asked whether they are there; 0 is never")
}

// given holds what the command line names.
func (t *trunkFlags) given(cmd *cobra.Command) (client.TrunkSettings, error) {
	s := client.TrunkSettings{Sources: t.sources, Targets: t.targets, CallerIDs: t.callerIDs, StripPrefixes: t.strip,
		Transport: changed(cmd, "transport", &t.transport), Country: changed(cmd, "country", &t.country),
		NumberFormat: changed(cmd, "number-format", &t.format), TrustIdentity: changed(cmd, "trust-identity", &t.trustIdentity),
		Priority: changed(cmd, "priority", &t.priority), Weight: changed(cmd, "weight", &t.weight),
		MaxCalls: changed(cmd, "max-calls", &t.maxCalls), MaxCPS: changed(cmd, "max-cps", &t.maxCallsSecond),
		SRTP: changed(cmd, "srtp", &t.srtp), Takeover: changed(cmd, "takeover", &t.takeover), AddPrefix: changed(cmd, "add-prefix", &t.add), OptionsSeconds: changed(cmd, "options-seconds", &t.options)}
	auth := client.TrunkAuth{Username: changed(cmd, "auth-username", &t.username), Realm: changed(cmd, "auth-realm", &t.realm)}
	if cmd.Flags().Changed("auth-password-file") {
		password, err := readSecret(cmd.InOrStdin(), t.passwordFile)
		if err != nil {
			return s, fmt.Errorf("password: %w", err)
		}
		auth.Password = &password
	}
	if auth != (client.TrunkAuth{}) {
		s.Auth = &auth
	}
	register := client.TrunkRegister{Domain: changed(cmd, "register-domain", &t.domain),
		ContactUser: changed(cmd, "register-contact-user", &t.contactUser), Expires: changed(cmd, "register-expires", &t.expires)}
	if register != (client.TrunkRegister{}) {
		s.Register = &register
	}
	return s, nil
}
