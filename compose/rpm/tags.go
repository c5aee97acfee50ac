package rpm

// Tag numbers of the signature header.
const (
	sigDSAHeader    = 267
	sigRSAHeader    = 268
	sigSHA1Header   = 269
	sigLongSize     = 270
	sigLongArchive  = 271
	sigSHA256Header = 273
	sigFileSigs     = 274
	sigFileSigLen   = 275
	sigVeritySigs   = 276
	sigVerityAlgo   = 277
	sigOpenPGP      = 278
	sigSHA3Header   = 279
	sigSize         = 1000
	sigPGP          = 1002
	sigMD5          = 1004
	sigGPG          = 1005
	sigArchiveSize  = 1007
)

// Tag numbers of the main header.
const (
	tagName               = 1000
	tagVersion            = 1001
	tagRelease            = 1002
	tagEpoch              = 1003
	tagSummary            = 1004
	tagDescription        = 1005
	tagBuildTime          = 1006
	tagBuildHost          = 1007
	tagSize               = 1009
	tagDistribution       = 1010
	tagVendor             = 1011
	tagLicense            = 1014
	tagPackager           = 1015
	tagGroup              = 1016
	tagURL                = 1020
	tagArch               = 1022
	tagOldFilenames       = 1027
	tagFileSizes          = 1028
	tagFileModes          = 1030
	tagFileRdevs          = 1033
	tagFileMTimes         = 1034
	tagFileDigests        = 1035
	tagFileLinkTos        = 1036
	tagFileFlags          = 1037
	tagFileUser           = 1039
	tagFileGroup          = 1040
	tagSourceRPM          = 1044
	tagTriggerScripts     = 1065
	tagTriggerName        = 1066
	tagTriggerVersion     = 1067
	tagTriggerFlags       = 1068
	tagTriggerIndex       = 1069
	tagTriggerProg        = 1092
	tagFileDevices        = 1095
	tagFileInodes         = 1096
	tagFileLangs          = 1097
	tagSourcePackage      = 1106
	tagDirIndexes         = 1116
	tagBasenames          = 1117
	tagDirnames           = 1118
	tagCompressor         = 1125
	tagFileColors         = 1140
	tagLongFileSizes      = 5008
	tagLongSize           = 5009
	tagFileCaps           = 5010
	tagTriggerScriptFlags = 5027
	tagPayloadDigest      = 5092
	tagPayloadDigestAlgo  = 5093
	tagRPMFormat          = 5114
)

// depTags are the tag numbers of one kind of dependency.
type depTags struct{ name, flags, version int }

var (
	tagsRequires    = depTags{1049, 1048, 1050}
	tagsProvides    = depTags{1047, 1112, 1113}
	tagsConflicts   = depTags{1054, 1053, 1055}
	tagsObsoletes   = depTags{1090, 1114, 1115}
	tagsRecommends  = depTags{5046, 5048, 5047}
	tagsSuggests    = depTags{5049, 5051, 5050}
	tagsSupplements = depTags{5052, 5054, 5053}
	tagsEnhances    = depTags{5055, 5057, 5056}
)

// scriptTags are the tag numbers of one kind of scriptlet.
var scriptTags = []struct {
	kind              ScriptKind
	body, prog, flags int
	critical          bool // its failure fails the transaction unless the flags say otherwise
}{
	{Pretrans, 1151, 1153, 5024, true},
	{Pre, 1023, 1085, 5020, true},
	{Post, 1024, 1086, 5021, false},
	{Posttrans, 1152, 1154, 5025, false},
	{Preuntrans, 5103, 5105, 5107, true},
	{Preun, 1025, 1087, 5022, true},
	{Postun, 1026, 1088, 5023, false},
	{Postuntrans, 5104, 5106, 5108, false},
	{Verify, 1079, 1091, 5026, true},
}

// triggerTags are the tag numbers of one family of triggers.
type triggerTags struct {
	scripts, prog, scriptFlags  int
	name, version, flags, index int
	priority                    int
	in, un, postun, prein       TriggerKind
}

var triggerFamilies = []triggerTags{
	{tagTriggerScripts, tagTriggerProg, tagTriggerScriptFlags,
		tagTriggerName, tagTriggerVersion, tagTriggerFlags, tagTriggerIndex, 0,
		TriggerIn, TriggerUn, TriggerPostun, TriggerPrein},
	{5066, 5067, 5068, 5069, 5071, 5072, 5070, 5084,
		FileTriggerIn, FileTriggerUn, FileTriggerPostun, ""},
	{5076, 5077, 5078, 5079, 5081, 5082, 5080, 5085,
		TransFileTriggerIn, TransFileTriggerUn, TransFileTriggerPostun, ""},
}
