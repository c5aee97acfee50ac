package initramfs

import prepareroot "photree/prepare-root"

// checkPrepareRoot refuses at build time what would stop the machine at boot.
func checkPrepareRoot(data []byte) (warnings []string, err error) {
	conf, err := prepareroot.ParseConfig(data)
	if err != nil {
		return nil, err
	}
	return conf.Warnings, conf.Supported()
}
