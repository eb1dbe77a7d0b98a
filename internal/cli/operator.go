package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"tandem/internal/client"
	"tandem/internal/e164"
)

func (p *program) tenantCommand() *cobra.Command {
	g := p.api("tenant", "Tenants: those who lend numbers through the API (operator)")
	g.add(verb{use: "list", short: "List tenants", args: exactly(),
		columns: []string{"tenant_id", "name", "account_sid", "timezone", "created_at"},
		run: func(ctx context.Context, s *session, _ []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.Tenants(ctx)
			return err
		}})
	g.add(verb{use: "get TENANT", short: "Show a tenant", args: exactly("TENANT"),
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.Client.Tenant(ctx, args[0])
			return err
		}})

	var fresh, change client.TenantChange
	create := g.add(verb{use: "create TENANT", short: "Make a tenant; prints his first token, once", args: exactly("TENANT"),
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.CreateTenant(ctx, client.NewTenant{TenantID: args[0], TenantChange: given(s.cmd, fresh)})
			return err
		}})
	tenantFlags(create, &fresh)
	update := g.add(verb{use: "update TENANT", short: "Change a tenant; what is not given stays", args: exactly("TENANT"),
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			_, err := s.ChangeTenant(ctx, args[0], given(s.cmd, change))
			return err
		}})
	tenantFlags(update, &change)
	g.add(verb{use: "delete TENANT", short: "Remove a tenant whose pool is empty", args: exactly("TENANT"),
		run: func(ctx context.Context, s *session, args []string) error {
			if err := s.asOperator(); err != nil {
				return err
			}
			return s.RemoveTenant(ctx, args[0])
		}})
	return g.cmd
}

func tenantFlags(cmd *cobra.Command, c *client.TenantChange) {
	c.PermittedPrefixes = &[]string{}
	c.RateLimit = &client.RateLimit{}
	c.MaxCalls = new(int64)
	flags := cmd.Flags()
	flags.StringVar(&c.Name, "name", "", "for people")
	flags.StringVar(&c.Timezone, "timezone", "", "IANA name, as Asia/Kolkata")
	flags.Int64Var(&c.RateLimit.PerSecond, "per-second", 0, "API requests a second")
	flags.Int64Var(&c.RateLimit.Burst, "burst", 0, "API requests at once")
	flags.StringSliceVar(c.PermittedPrefixes, "permitted-prefixes", nil, "how a number must begin to be rung, whatever the tenant allows himself; empty is any")
	flags.Int64Var(c.MaxCalls, "max-calls", 0, "calls that are up at once; 0 is any number")
	flags.Int64Var(&c.MaxDuration, "max-duration", 0, "longest allocation in seconds")
	flags.Int64Var(&c.RingSeconds, "ring-seconds", 0, "how long each number is rung")
	flags.Int64Var(&c.RingTotalSeconds, "ring-total-seconds", 0, "how long all numbers together are rung")
}

// given leaves out what was not given.
func given(cmd *cobra.Command, c client.TenantChange) client.TenantChange {
	c.PermittedPrefixes = changed(cmd, "permitted-prefixes", c.PermittedPrefixes)
	c.MaxCalls = changed(cmd, "max-calls", c.MaxCalls)
	if *c.RateLimit == (client.RateLimit{}) {
		c.RateLimit = nil
	}
	return c
}

func (p *program) tokenCommand() *cobra.Command {
	g := p.api("token", "Tokens of a tenant; several live side by side, so that a rotation needs no outage (operator)")
	g.add(verb{use: "list", short: "List a tenant's tokens, without their secrets", args: exactly(),
		columns: []string{"token_id", "label", "created_at"},
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.operatorFor()
			if err == nil {
				_, err = s.Tokens(ctx, tenant)
			}
			return err
		}})
	g.add(verb{use: "get TOKEN_ID", short: "Show a token, without its secret", args: exactly("TOKEN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.operatorFor()
			if err != nil {
				return err
			}
			if _, err = s.Tokens(ctx, tenant); err != nil {
				return err
			}
			if !s.pick("token_id", args[0]) {
				return fmt.Errorf("tenant %s has no such token", tenant)
			}
			return nil
		}})
	var label string
	create := g.add(verb{use: "create", short: "Make a token; prints it, once", args: exactly(),
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.operatorFor()
			if err == nil {
				_, err = s.CreateToken(ctx, tenant, label)
			}
			return err
		}})
	create.Flags().StringVar(&label, "label", "", "what it is for")
	g.add(verb{use: "delete TOKEN_ID", short: "Revoke a token", args: exactly("TOKEN_ID"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.operatorFor()
			if err == nil {
				err = s.RevokeToken(ctx, tenant, args[0])
			}
			return err
		}})
	return g.cmd
}

func (p *program) numberCommand() *cobra.Command {
	g := p.api("number", "Virtual numbers of a tenant's pool (operator; list also as the tenant)")
	var at *client.Page
	list := g.add(verb{use: "list", short: "List a pool", args: exactly(),
		columns: []string{"number", "sharing", "region", "type", "active_allocations", "pins", "created_at"},
		run: func(ctx context.Context, s *session, _ []string) error {
			if s.operates() {
				tenant, err := s.tenant()
				if err == nil {
					_, err = s.NumbersOf(ctx, tenant, *at)
				}
				return err
			}
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.Numbers(ctx, tenant, *at)
			}
			return err
		}})
	at = paging(list)
	g.add(verb{use: "get NUMBER", short: "Show a number of the pool", args: exactly("NUMBER"), run: numberGet})
	numberWriters(g)
	capacityCommands(g)
	return g.cmd
}

// numberGet looks through the pool page by page.
func numberGet(ctx context.Context, s *session, args []string) error {
	tenant, err := s.operatorFor()
	if err != nil {
		return err
	}
	number, err := e164.Parse(args[0])
	if err != nil {
		return misuse(s.cmd, err)
	}
	for at := (client.Page{Limit: 100}); ; {
		numbers, err := s.NumbersOf(ctx, tenant, at)
		if err != nil {
			return err
		}
		if s.pick("number", number.E164()) {
			return nil
		}
		if at.Cursor = numbers.NextCursor; at.Cursor == "" {
			return fmt.Errorf("no such number in the pool of %s", tenant)
		}
	}
}

func numberWriters(g *apiGroup) {
	var kind client.NewNumber
	create := g.add(verb{use: "create NUMBER…", short: "Add numbers to a pool, all or none", args: atLeastOne("NUMBER"),
		columns: []string{"number", "sharing", "region", "type"},
		example: "  tandem number create --tenant acme +914000000001 +914000000002",
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.operatorFor()
			if err != nil {
				return err
			}
			numbers := make([]client.NewNumber, len(args))
			for i, n := range args {
				numbers[i] = kind
				numbers[i].Number = n
			}
			_, err = s.AddNumbers(ctx, tenant, numbers)
			return err
		}})
	numberFlags(create, &kind)

	var change client.NewNumber
	var strangers strangerFlags
	update := g.add(verb{use: "update NUMBER", short: "Change a number; what is not given stays", args: exactly("NUMBER"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.operatorFor()
			if err == nil {
				_, err = s.ChangeNumber(ctx, tenant, args[0], client.NumberChange{Sharing: changed(s.cmd, "sharing", &change.Sharing),
					Region: changed(s.cmd, "region", &change.Region), Type: changed(s.cmd, "type", &change.Type),
					StrangerPolicy: strangers.given()})
			}
			return err
		}})
	numberFlags(update, &change)
	strangers.on(update, "announce, pin, forward, webhook or reject; tenant: as the tenant has it")
	g.add(verb{use: "delete NUMBER", short: "Take a number out of the pool", args: exactly("NUMBER"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.operatorFor()
			if err == nil {
				err = s.RemoveNumber(ctx, tenant, args[0])
			}
			return err
		}})
}

func numberFlags(cmd *cobra.Command, n *client.NewNumber) {
	cmd.Flags().StringVar(&n.Sharing, "sharing", "", "exclusive (default): one allocation at a time; shared: many, told apart by who calls")
	cmd.Flags().StringVar(&n.Region, "region", "", "for the automatic choice, as AP")
	cmd.Flags().StringVar(&n.Type, "type", "", "for the automatic choice, as landline")
}
