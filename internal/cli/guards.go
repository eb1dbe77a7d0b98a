package cli

import (
	"context"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

// guardFlags are the settings that bound fraud.
type guardFlags struct {
	allowed                                       []string
	dayCalls, dayMinutes                          int64
	minutes, callerCalls, allocationCalls, tenant int64
	block                                         bool
}

func (f *guardFlags) on(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.allowed, "allowed-prefixes", nil, "how a number must begin to be rung, as +91; empty is any")
	flags.Int64Var(&f.dayCalls, "max-allocation-calls-per-day", 0, "calls through one allocation in a day; 0 is any number")
	flags.Int64Var(&f.dayMinutes, "max-allocation-minutes-per-day", 0, "minutes talked through one allocation in a day; 0 is any number")
	flags.Int64Var(&f.minutes, "velocity-minutes", 0, "how long calls are counted for an alarm, from the first on")
	flags.Int64Var(&f.callerCalls, "velocity-caller-calls", 0, "calls of one caller that raise no alarm; 0 is any number")
	flags.Int64Var(&f.allocationCalls, "velocity-allocation-calls", 0, "calls through one allocation that raise no alarm; 0 is any number")
	flags.Int64Var(&f.tenant, "velocity-tenant-calls", 0, "calls of yours that raise no alarm; 0 is any number")
	flags.BoolVar(&f.block, "velocity-block", false, "refuse the calls beyond as well")
}

func (f *guardFlags) given(cmd *cobra.Command, change *client.SettingsChange) {
	change.AllowedPrefixes = changed(cmd, "allowed-prefixes", &f.allowed)
	change.MaxCallsPerDay = changed(cmd, "max-allocation-calls-per-day", &f.dayCalls)
	change.MaxMinutesPerDay = changed(cmd, "max-allocation-minutes-per-day", &f.dayMinutes)
	v := client.VelocityAlarmChange{Minutes: changed(cmd, "velocity-minutes", &f.minutes), CallerCalls: changed(cmd, "velocity-caller-calls", &f.callerCalls),
		AllocationCalls: changed(cmd, "velocity-allocation-calls", &f.allocationCalls), TenantCalls: changed(cmd, "velocity-tenant-calls", &f.tenant),
		Block: changed(cmd, "velocity-block", &f.block)}
	if v != (client.VelocityAlarmChange{}) {
		change.VelocityAlarm = &v
	}
}

func (p *program) blockedCommand() *cobra.Command {
	g := p.api("blocked", "Callers of whom nothing is let through (as the tenant)")
	var at *client.Page
	list := g.add(verb{use: "list", short: "List blocked callers", args: exactly(), columns: []string{"number", "note", "created_at"},
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.BlockedCallers(ctx, tenant, *at)
			}
			return err
		}})
	at = paging(list)
	var note string
	add := g.add(verb{use: "add NUMBER…", short: "Block callers, or change their note", args: atLeastOne("NUMBER"),
		columns: []string{"number", "note", "created_at"},
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.BlockCallers(ctx, tenant, args, note)
			}
			return err
		}})
	add.Flags().StringVar(&note, "note", "", "your own words")
	g.add(verb{use: "remove NUMBER", short: "Let a caller through again", args: exactly("NUMBER"),
		run: func(ctx context.Context, s *session, args []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				err = s.UnblockCaller(ctx, tenant, args[0])
			}
			return err
		}})
	return g.cmd
}
