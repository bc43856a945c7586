# The native addon. lezea_core is everything that knows nothing of Node; lezea_monitor adds N-API.
# Sources are listed by the file system so that a new file needs no line here.
{
  'variables': {
    'hardening_flags': [
      '-std=c++17', '-Wall', '-Wextra', '-Werror', '-O2', '-g',
      '-fstack-protector-strong', '-U_FORTIFY_SOURCE', '-D_FORTIFY_SOURCE=2', '-D_GLIBCXX_ASSERTIONS',
    ],
  },
  # Exceptions stay on: the sampling thread must survive std::bad_alloc. None crosses the boundary.
  'target_defaults': {
    'cflags_cc!': ['-std=gnu++14', '-std=gnu++17', '-std=gnu++20', '-fno-rtti', '-fno-exceptions', '-O3'],
    'cflags!': ['-O3'],
    'cflags_cc': ['<@(hardening_flags)'],
    'cflags': ['-fPIC', '-fvisibility=hidden'],
    'include_dirs': ['native'],
  },
  'targets': [
    {
      'target_name': 'lezea_core',
      'type': 'static_library',
      'sources': [
        '<!@(node -p "[\'base\',\'procfs\',\'netlink\',\'node\',\'scope\',\'attribution\',\'sampler\',\'nvml\',\'service\'].flatMap(d => { const p = \'native/\' + d; return fs.existsSync(p) ? fs.readdirSync(p).filter(f => f.endsWith(\'.cc\')).sort().map(f => p + \'/\' + f) : [] }).join(\' \')")',
      ],
    },
    {
      'target_name': 'lezea_monitor',
      'dependencies': ['lezea_core'],
      'sources': [
        '<!@(node -p "fs.existsSync(\'native/addon\') ? fs.readdirSync(\'native/addon\').filter(f => f.endsWith(\'.cc\')).sort().map(f => \'native/addon/\' + f).join(\' \') : \'\'")',
      ],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=8', 'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED'],
      'ldflags': ['-Wl,-z,relro,-z,now', '-pthread'],
    },
  ],
}
