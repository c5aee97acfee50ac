package treefile

// merge puts what an included file says under t: values that t has win, lists
// append with the included file's items first, maps take what t lacks.
func (t *Treefile) merge(base *Treefile) {
	for _, f := range []struct{ to, from *string }{
		{&t.Edition, &base.Edition}, {&t.Ref, &base.Ref}, {&t.Releasever, &base.Releasever},
		{&t.Basearch, &base.Basearch}, {&t.BootLocation, &base.BootLocation}, {&t.DefaultTarget, &base.DefaultTarget},
		{&t.Sysusers, &base.Sysusers}, {&t.VersionPrefix, &base.VersionPrefix}, {&t.VersionSuffix, &base.VersionSuffix},
		{&t.MutateOSRelease, &base.MutateOSRelease}, {&t.RepoMetadata, &base.RepoMetadata},
		{&t.OptUsrlocal, &base.OptUsrlocal}, {&t.GPGKey, &base.GPGKey}, {&t.RPMDB, &base.RPMDB},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from **bool }{
		{&t.Recommends, &base.Recommends}, {&t.Documentation, &base.Documentation}, {&t.SELinux, &base.SELinux},
		{&t.NoInitramfs, &base.NoInitramfs}, {&t.PreservePasswd, &base.PreservePasswd}, {&t.TmpIsDir, &base.TmpIsDir},
		{&t.MachineIDCompat, &base.MachineIDCompat}, {&t.ReadonlyExecutables, &base.ReadonlyExecutables},
	} {
		if *f.to == nil {
			*f.to = *f.from
		}
	}
	for _, f := range []struct{ to, from *[]string }{
		{&t.Repos, &base.Repos}, {&t.Packages, &base.Packages}, {&t.Exclude, &base.Exclude},
		{&t.InstallLangs, &base.InstallLangs}, {&t.InitramfsArgs, &base.InitramfsArgs}, {&t.Units, &base.Units},
		{&t.RemoveFiles, &base.RemoveFiles}, {&t.EtcGroupMembers, &base.EtcGroupMembers},
		{&t.IgnoreRemovedUsers, &base.IgnoreRemovedUsers}, {&t.IgnoreRemovedGroups, &base.IgnoreRemovedGroups},
	} {
		*f.to = prepend(*f.from, *f.to)
	}
	t.RepoPackages = prepend(base.RepoPackages, t.RepoPackages)
	t.RemoveFromPackages = prepend(base.RemoveFromPackages, t.RemoveFromPackages)
	t.AddFiles = prepend(base.AddFiles, t.AddFiles)
	t.Postprocess = prepend(base.Postprocess, t.Postprocess)
	if t.CheckPasswd == nil {
		t.CheckPasswd = base.CheckPasswd
	}
	if t.CheckGroups == nil {
		t.CheckGroups = base.CheckGroups
	}
	t.Variables = under(t.Variables, base.Variables)
	t.RepoVars = under(t.RepoVars, base.RepoVars)
	t.CommitMetadata = under(t.CommitMetadata, base.CommitMetadata)
}

func prepend[T any](first, then []T) []T {
	if first == nil {
		return then
	}
	return append(append(make([]T, 0, len(first)+len(then)), first...), then...)
}

func under[V any](m, base map[string]V) map[string]V {
	if m == nil {
		return base
	}
	for k, v := range base {
		if _, ok := m[k]; !ok {
			m[k] = v
		}
	}
	return m
}
